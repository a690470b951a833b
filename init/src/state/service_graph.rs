//! State: what each service needs, for the start and for the stop. Every step is linear in services and entries.

use std::collections::{BTreeSet, HashMap};

/// The number of a service's name. A service that is only named by others has one, too.
pub type Node = u32;

/// The names of services, and what each of them needs.
#[derive(Debug, Default)]
pub struct ServiceGraph {
    numbers: HashMap<String, Node>,
    names: Vec<String>,
    /// As in `dependencies.d`.
    listed: Vec<Vec<Node>>,
    /// The same without what closes a cycle, for the services of which something does.
    needs: HashMap<Node, Vec<Node>>,
    dependents: Vec<Vec<Node>>,
    depths: Vec<u32>,
    /// Whether there is a service of this name.
    is_present: Vec<bool>,
    /// Numbers to be used again.
    free: Vec<Node>,
    is_stale: bool,
    warned: BTreeSet<String>,
}

/// One step of the walk that finds cycles.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Visit {
    NotYet,
    /// A service below this one is being visited.
    Open,
    Done,
}

impl ServiceGraph {
    /// The number of this name.
    pub fn node(&mut self, name: &str) -> Node {
        if let Some(node) = self.numbers.get(name) {
            return *node;
        }
        if let Some(node) = self.free.pop() {
            self.numbers.insert(name.to_owned(), node);
            set(&mut self.names, node, name.to_owned());
            return node;
        }
        let Ok(node) = Node::try_from(self.names.len()) else { return Node::MAX };
        self.numbers.insert(name.to_owned(), node);
        self.names.push(name.to_owned());
        self.is_present.push(false);
        self.listed.push(Vec::new());
        self.dependents.push(Vec::new());
        self.depths.push(0);
        node
    }

    /// The name of a service.
    pub fn name(&self, node: Node) -> &str {
        self.names.get(at(node)).map_or("", String::as_str)
    }

    /// Takes in what a service needs; whether that is new.
    pub fn set_needs(&mut self, node: Node, names: &[String]) -> bool {
        let listed: Vec<Node> = names.iter().map(|name| self.node(name)).collect();
        let Some(before) = self.listed.get_mut(at(node)).filter(|before| **before != listed) else {
            return false;
        };
        *before = listed;
        self.is_stale = true;
        true
    }

    /// There is a service of this name.
    pub fn appeared(&mut self, name: &str) -> Node {
        let node = self.node(name);
        set(&mut self.is_present, node, true);
        node
    }

    /// There is no service of this name any more.
    pub fn disappeared(&mut self, node: Node) {
        set(&mut self.is_present, node, false);
        self.is_stale |= !self.listed(node).is_empty();
        set(&mut self.listed, node, Vec::new());
        if !self.is_stale && self.dependents(node).is_empty() {
            self.forget(node);
        }
    }

    /// What a service needs, as it says.
    pub fn listed(&self, node: Node) -> &[Node] {
        self.listed.get(at(node)).map_or(&[], Vec::as_slice)
    }

    /// What a service needs.
    pub fn needs(&self, node: Node) -> &[Node] {
        self.needs.get(&node).map_or_else(|| self.listed(node), Vec::as_slice)
    }

    /// What needs a service.
    pub fn dependents(&self, node: Node) -> &[Node] {
        self.dependents.get(at(node)).map_or(&[], Vec::as_slice)
    }

    /// How many services there are at most below this one, each of which needs the next.
    pub fn depth(&self, node: Node) -> u32 {
        self.depths.get(at(node)).copied().unwrap_or(0)
    }

    /// Brings everything up to date after a change. In each cycle the entry that closes it, in the order of
    /// the names, is left out; the result says which.
    pub fn settle(&mut self) -> Option<Vec<String>> {
        if !std::mem::take(&mut self.is_stale) {
            return None;
        }
        let closing = self.closing_entries();
        let mut warnings = Vec::new();
        for dependents in &mut self.dependents {
            dependents.clear();
        }
        self.needs.clear();
        for (node, _) in &closing {
            let is_kept = |need: &Node| !closing.contains(&(*node, *need));
            let needs = self.listed(*node).iter().copied().filter(is_kept).collect();
            self.needs.insert(*node, needs);
        }
        for node in self.nodes() {
            let listed = self.listed.get(at(node)).map_or(&[][..], Vec::as_slice);
            for need in self.needs.get(&node).map_or(listed, Vec::as_slice) {
                if let Some(dependents) = self.dependents.get_mut(at(*need)) {
                    dependents.push(node);
                }
            }
        }
        for dependents in &mut self.dependents {
            dependents.shrink_to_fit();
        }
        self.forget_unnamed();
        for (node, need) in closing {
            let (name, need) = (self.name(node), self.name(need));
            warnings.push(format!("{name} depends on {need}, which closes a cycle; ignored"));
        }
        warnings.retain(|warning| self.is_news(warning));
        Some(warnings)
    }

    /// Whether something is said of an entry for the first time.
    pub fn is_news(&mut self, warning: &str) -> bool {
        const REMEMBERED: usize = 4096;
        if self.warned.len() == REMEMBERED {
            self.warned.clear();
        }
        self.warned.insert(warning.to_owned())
    }

    fn nodes(&self) -> impl Iterator<Item = Node> + use<> {
        0..Node::try_from(self.names.len()).unwrap_or(Node::MAX)
    }

    fn forget_unnamed(&mut self) {
        let mut is_used = self.is_present.clone();
        for node in self.listed.iter().flatten() {
            set(&mut is_used, *node, true);
        }
        for (node, is_used) in self.nodes().zip(is_used) {
            if !is_used {
                self.forget(node);
            }
        }
    }

    fn forget(&mut self, node: Node) {
        if self.numbers.remove(self.names.get(at(node)).map_or("", String::as_str)).is_some() {
            set(&mut self.names, node, String::new());
            self.free.push(node);
        }
    }

    /// The entries that close a cycle. A walk from service to service, in the order of their names, comes back
    /// to one that it is not done with. On its way back it knows the depths.
    fn closing_entries(&mut self) -> BTreeSet<(Node, Node)> {
        let mut closing = BTreeSet::new();
        let mut visits = vec![Visit::NotYet; self.names.len()];
        let mut roots: Vec<Node> = self.nodes().collect();
        roots.sort_unstable_by(|one, other| self.name(*one).cmp(self.name(*other)));
        // The way to the service that is visited: each with the next of its entries.
        let mut way: Vec<(Node, usize)> = Vec::new();
        for root in roots {
            if visits.get(at(root)) == Some(&Visit::NotYet) {
                way.push((root, 0));
            }
            while let Some((node, next)) = way.last_mut() {
                let (node, place) = (*node, *next);
                *next += 1;
                if place == 0 {
                    set(&mut visits, node, Visit::Open);
                    set(&mut self.depths, node, 0);
                }
                if let Some(need) = self.listed(node).get(place).copied() {
                    match visits.get(at(need)).copied().unwrap_or(Visit::Done) {
                        Visit::NotYet => way.push((need, 0)),
                        Visit::Open => {
                            closing.insert((node, need));
                        }
                        Visit::Done => self.deepen(node, need),
                    }
                } else {
                    set(&mut visits, node, Visit::Done);
                    way.pop();
                    if let Some((above, _)) = way.last() {
                        self.deepen(*above, node);
                    }
                }
            }
        }
        closing
    }

    fn deepen(&mut self, node: Node, need: Node) {
        let depth = self.depth(need).saturating_add(1).max(self.depth(node));
        set(&mut self.depths, node, depth);
    }
}

/// The place of a service in the lists.
fn at(node: Node) -> usize {
    usize::try_from(node).unwrap_or(usize::MAX)
}

fn set<T>(all: &mut [T], node: Node, value: T) {
    if let Some(place) = all.get_mut(at(node)) {
        *place = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(services: &[(&str, &[&str])]) -> (ServiceGraph, Vec<String>) {
        let mut graph = ServiceGraph::default();
        for (name, needs) in services {
            let node = graph.appeared(name);
            graph.set_needs(node, &needs.iter().map(ToString::to_string).collect::<Vec<_>>());
        }
        let warnings = graph.settle().unwrap_or_default();
        (graph, warnings)
    }

    fn names(
        graph: &mut ServiceGraph,
        of: &str,
        nodes: impl Fn(&ServiceGraph, Node) -> Vec<Node>,
    ) -> Vec<String> {
        let node = graph.node(of);
        nodes(graph, node).into_iter().map(|node| graph.name(node).to_owned()).collect()
    }

    #[test]
    fn a_service_knows_what_it_needs_and_what_needs_it() {
        let (mut graph, warnings) =
            graph(&[("web", &["db", "cache"]), ("db", &["disk"]), ("cache", &[]), ("disk", &[])]);
        assert!(warnings.is_empty());
        assert_eq!(names(&mut graph, "web", |graph, node| graph.needs(node).to_vec()), ["db", "cache"]);
        assert_eq!(names(&mut graph, "disk", |graph, node| graph.dependents(node).to_vec()), ["db"]);
        let depths = ["web", "db", "disk"].map(|name| {
            let node = graph.node(name);
            graph.depth(node)
        });
        assert_eq!(depths, [2, 1, 0]);
    }

    #[test]
    fn one_entry_of_a_cycle_is_left_out_and_said_once() {
        let (mut graph, warnings) = graph(&[("b", &["c"]), ("c", &["a"]), ("a", &["b"])]);
        assert_eq!(warnings, ["c depends on a, which closes a cycle; ignored"]);
        assert_eq!(names(&mut graph, "c", |graph, node| graph.needs(node).to_vec()), Vec::<String>::new());
        assert_eq!(names(&mut graph, "c", |graph, node| graph.listed(node).to_vec()), ["a"]);
        let d = graph.node("d");
        assert!(graph.set_needs(d, &["d".into()]) && !graph.set_needs(d, &["d".into()]));
        assert_eq!(graph.settle(), Some(vec!["d depends on d, which closes a cycle; ignored".into()]));
        assert_eq!(graph.settle(), None);
    }

    #[test]
    fn names_of_services_that_come_and_go_take_no_more_room() {
        let mut graph = ServiceGraph::default();
        let web = graph.appeared("web");
        for number in 0..1000 {
            let node = graph.appeared(&format!("worker-{number}"));
            graph.set_needs(node, &["web".into(), format!("db-{number}")]);
            graph.settle();
            graph.disappeared(node);
            graph.settle();
        }
        assert!(graph.names.len() < 8 && graph.numbers.len() == 1 && graph.dependents(web).is_empty());
    }

    #[test]
    fn many_services_that_need_all_before_them_are_ordered() {
        let all: Vec<String> = (0..2000).map(|number| format!("s{number:04}")).collect();
        let mut graph = ServiceGraph::default();
        for (count, name) in all.iter().enumerate().rev() {
            let node = graph.appeared(name);
            graph.set_needs(node, all.get(..count).unwrap_or_default());
        }
        assert_eq!(graph.settle(), Some(Vec::new()));
        let (first, last) = (graph.node("s0000"), graph.node("s1999"));
        assert_eq!((graph.depth(first), graph.depth(last)), (0, 1999));
        assert_eq!((graph.dependents(first).len(), graph.needs(last).len()), (1999, 1999));
    }
}
