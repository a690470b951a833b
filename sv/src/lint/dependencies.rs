//! Effects: the graph of dependencies, read from each `dependencies.d`, and its cycles.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use servicedir::ServiceDir;

/// How many services of a cycle are named.
const NAMED: usize = 12;

/// How many dependencies are followed in the search for a cycle.
const MOST_STEPS: usize = 100_000;

/// The search took [`MOST_STEPS`].
struct LimitReached;

/// The services and their dependencies. Each `dependencies.d` is read once, however many services depend on
/// it.
#[derive(Default)]
pub struct DependencyGraph {
    numbers: HashMap<PathBuf, usize>,
    nodes: Vec<Node>,
}

struct Node {
    place: PathBuf,
    exists: bool,
    /// The numbers of its dependencies, sorted by name; `None` before they are read.
    dependencies: Option<Vec<usize>>,
    cycle_state: CycleState,
}

/// Whether the dependencies of a service contain a cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CycleState {
    Unknown,
    /// They are being followed.
    InProgress,
    /// No.
    Acyclic,
    /// Yes.
    Cyclic,
}

impl DependencyGraph {
    /// The dependencies of the service at `dir` that do not exist.
    pub fn missing(&mut self, dir: &Path) -> Vec<String> {
        let Some(own) = self.number_of(dir) else { return Vec::new() };
        let dependencies = self.dependencies(own).to_vec();
        let services = dependencies.into_iter().filter_map(|dependency| self.nodes.get(dependency));
        services.filter(|service| !service.exists).map(Node::name).collect()
    }

    /// The cycle that the dependencies of the service at `dir` contain, if there is one.
    pub fn cycle(&mut self, dir: &Path) -> Option<String> {
        let own = self.number_of(dir)?;
        self.search(own);
        if self.cycle_state(own) != CycleState::Cyclic {
            return None;
        }
        match self.path_back(own) {
            Ok(None) => None,
            Ok(Some(names)) => Some(format!("dependency cycle: {}", names.join(" -> "))),
            Err(LimitReached) => Some("depends on services in a dependency cycle".to_owned()),
        }
    }

    /// The dependencies of the service at `dir` that exist, and do not depend on it in turn.
    pub fn preconditions(&mut self, dir: &Path) -> Vec<PathBuf> {
        let Some(own) = self.number_of(dir) else { return Vec::new() };
        let mut dependents: HashMap<usize, Vec<usize>> = HashMap::new();
        reachable(own, |service| {
            let dependencies = self.dependencies(service).to_vec();
            for dependency in &dependencies {
                dependents.entry(*dependency).or_default().push(service);
            }
            dependencies
        });
        let above = reachable(own, |service| dependents.remove(&service).unwrap_or_default());
        let mut dependencies = self.dependencies(own).to_vec();
        dependencies.retain(|dependency| !above.contains(dependency));
        let services = dependencies.into_iter().filter_map(|dependency| self.nodes.get(dependency));
        services.filter(|service| service.exists).map(|service| service.place.clone()).collect()
    }

    /// The shortest path from a service back to itself, if there is one.
    fn path_back(&self, own: usize) -> Result<Option<Vec<String>>, LimitReached> {
        // The service from which each was reached first, in a breadth-first search.
        let mut before: Vec<Option<usize>> = vec![None; self.nodes.len()];
        let mut reached = vec![own];
        let mut next = 0;
        let mut steps = 0;
        while let Some(&service) = reached.get(next) {
            next += 1;
            let dependencies =
                self.nodes.get(service).and_then(|it| it.dependencies.as_deref()).unwrap_or_default();
            steps += dependencies.len();
            if dependencies.contains(&own) {
                return Ok(Some(self.names(own, service, &before)));
            }
            if steps > MOST_STEPS {
                return Err(LimitReached);
            }
            for &dependency in dependencies {
                if self.cycle_state(dependency) == CycleState::Cyclic
                    && let Some(before @ None) = before.get_mut(dependency)
                {
                    *before = Some(service);
                    reached.push(dependency);
                }
            }
        }
        Ok(None)
    }

    /// The names of a cycle, from its first service to its last and again the first.
    fn names(&self, own: usize, last: usize, before: &[Option<usize>]) -> Vec<String> {
        let name = |number: &usize| self.nodes.get(*number).map(Node::name).unwrap_or_default();
        let back = |it: &usize| before.get(*it).copied().flatten();
        let mut path: Vec<usize> = std::iter::successors(Some(last), back).collect();
        path.reverse();
        let mut names: Vec<String> = path.iter().take(NAMED).map(name).collect();
        if path.len() > NAMED {
            names.push(format!("{} others", path.len() - NAMED));
        }
        names.push(name(&own));
        names
    }

    /// Finds out whether the dependencies of a service contain a cycle, in a depth-first search. Each service is
    /// followed once.
    fn search(&mut self, first: usize) {
        let mut path = vec![(first, 0)];
        while let Some((service, next)) = path.last_mut() {
            let service = *service;
            if *next == 0 && self.cycle_state(service) == CycleState::Unknown {
                self.set(service, CycleState::InProgress);
            } else if *next == 0 {
                path.pop();
                continue;
            }
            if let Some(&dependency) = self.dependencies(service).get(*next) {
                *next += 1;
                path.push((dependency, 0));
                continue;
            }
            path.pop();
            let is_acyclic = |dependency: &usize| self.cycle_state(*dependency) == CycleState::Acyclic;
            let dependencies = self.nodes.get(service).and_then(|it| it.dependencies.as_ref());
            let is_acyclic = dependencies.is_none_or(|dependencies| dependencies.iter().all(is_acyclic));
            self.set(service, if is_acyclic { CycleState::Acyclic } else { CycleState::Cyclic });
        }
    }

    fn cycle_state(&self, service: usize) -> CycleState {
        self.nodes.get(service).map_or(CycleState::Acyclic, |it| it.cycle_state)
    }

    fn set(&mut self, service: usize, cycle_state: CycleState) {
        if let Some(service) = self.nodes.get_mut(service) {
            service.cycle_state = cycle_state;
        }
    }

    fn number_of(&mut self, dir: &Path) -> Option<usize> {
        let path = std::path::absolute(dir).ok()?;
        Some(self.number(path.parent()?, path.file_name()?))
    }

    fn number(&mut self, parent: &Path, name: &OsStr) -> usize {
        let place = parent.join(name);
        if let Some(number) = self.numbers.get(&place) {
            return *number;
        }
        let number = self.nodes.len();
        let exists = place.is_dir();
        self.numbers.insert(place.clone(), number);
        self.nodes.push(Node { place, exists, dependencies: None, cycle_state: CycleState::Unknown });
        number
    }

    fn dependencies(&mut self, service: usize) -> &[usize] {
        if let Some(Node { place, dependencies: None, .. }) = self.nodes.get(service) {
            let place = place.clone();
            let names = servicedir::dependencies::names(&ServiceDir::at(&place));
            let parent = place.parent().unwrap_or(&place);
            let read = names.iter().map(|name| self.number(parent, name)).collect();
            if let Some(service) = self.nodes.get_mut(service) {
                service.dependencies = Some(read);
            }
        }
        self.nodes.get(service).and_then(|it| it.dependencies.as_deref()).unwrap_or_default()
    }
}

/// A service and all that can be reached from it, when this is the way from one to the next.
fn reachable(first: usize, mut next: impl FnMut(usize) -> Vec<usize>) -> HashSet<usize> {
    let (mut found, mut rest) = (HashSet::from([first]), vec![first]);
    while let Some(service) = rest.pop() {
        rest.extend(next(service).into_iter().filter(|next| found.insert(*next)));
    }
    found
}

impl Node {
    fn name(&self) -> String {
        self.place.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}
