//! State: the order of a stop. A service goes down before the services it needs.

use std::collections::{BTreeMap, BTreeSet};

/// What each service needs; services without dependencies are not in it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct StopOrder {
    needs: BTreeMap<String, BTreeSet<String>>,
    depths: BTreeMap<String, u32>,
}

impl StopOrder {
    /// The order of services and what each of them needs. Names that are not running, and the one entry that
    /// closes a cycle, are left out with a warning.
    pub fn of<'a>(services: impl IntoIterator<Item = (&'a str, &'a [String])>) -> (Self, Vec<String>) {
        let services: BTreeMap<&str, &[String]> = services.into_iter().collect();
        let mut stop_order = Self::default();
        let mut warnings = Vec::new();
        for (name, needs) in &services {
            for needed in *needs {
                if !services.contains_key(needed.as_str()) {
                    warnings.push(format!("{name} depends on {needed}, which is not running; ignored"));
                } else if stop_order.reaches(needed, name) {
                    warnings.push(format!("{name} depends on {needed}, which closes a cycle; ignored"));
                } else {
                    stop_order.needs.entry((*name).to_owned()).or_default().insert(needed.clone());
                }
            }
        }
        for name in stop_order.needs.keys().cloned().collect::<Vec<_>>() {
            stop_order.compute_depth(&name);
        }
        (stop_order, warnings)
    }

    /// The services that need `name`, and go down before it.
    pub fn dependents<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.needs.iter().filter(move |(_, needs)| needs.contains(name)).map(|(who, _)| who.as_str())
    }

    /// How many services still have to go down, one after another, when `name` is down: the longest chain of
    /// what it needs.
    pub fn depth(&self, name: &str) -> u32 {
        self.depths.get(name).copied().unwrap_or(0)
    }

    /// Computes the depth of `name` and of all below it. There is no cycle, so this ends.
    fn compute_depth(&mut self, name: &str) -> u32 {
        if let Some(depth) = self.depths.get(name) {
            return *depth;
        }
        let needs = self.needs.get(name).cloned().unwrap_or_default();
        let depth =
            needs.iter().map(|needed| self.compute_depth(needed).saturating_add(1)).max().unwrap_or(0);
        self.depths.insert(name.to_owned(), depth);
        depth
    }

    /// Whether `from` needs `to`, directly or not, or is it.
    fn reaches(&self, from: &str, to: &str) -> bool {
        let (mut reported, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(name) = open.pop() {
            if name == to {
                return true;
            }
            if reported.insert(name) {
                open.extend(self.needs.get(name).into_iter().flatten().map(String::as_str));
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stop_order(pairs: &[(&str, &[&str])]) -> (StopOrder, Vec<String>) {
        let owned: Vec<(&str, Vec<String>)> = pairs
            .iter()
            .map(|(name, needs)| (*name, needs.iter().map(ToString::to_string).collect()))
            .collect();
        StopOrder::of(owned.iter().map(|(name, needs)| (*name, needs.as_slice())))
    }

    #[test]
    fn a_service_goes_down_before_what_it_needs() {
        let (stop_order, warnings) =
            stop_order(&[("web", &["db", "cache"]), ("db", &["disk"]), ("cache", &[]), ("disk", &[])]);
        assert!(warnings.is_empty());
        assert_eq!(stop_order.dependents("db").collect::<Vec<_>>(), ["web"]);
        assert_eq!(stop_order.dependents("web").count(), 0);
        assert_eq!(["web", "db", "disk"].map(|name| stop_order.depth(name)), [2, 1, 0]);
    }

    #[test]
    fn one_entry_of_a_cycle_is_left_out_and_said_once() {
        let (stop_order, warnings) = stop_order(&[("a", &["b"]), ("b", &["c"]), ("c", &["a"])]);
        assert_eq!(warnings, ["c depends on a, which closes a cycle; ignored"]);
        assert_eq!(["a", "b", "c"].map(|name| stop_order.depth(name)), [2, 1, 0]);
    }

    #[test]
    fn a_service_that_needs_itself_or_nobody_known_is_not_held_up() {
        let (stop_order, warnings) = stop_order(&[("a", &["a", "ghost"])]);
        assert_eq!(warnings.len(), 2);
        assert_eq!(stop_order, StopOrder::default());
    }
}
