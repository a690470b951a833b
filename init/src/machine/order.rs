//! State: which services have to be down before others are stopped. A service goes before what it needs.

use std::collections::BTreeMap;

/// What services need, by the numbers of their names; without relations it is empty.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct StopOrder {
    numbers: BTreeMap<String, usize>,
    /// The services that need each service directly.
    dependents: Vec<Members>,
    depths: Vec<u32>,
}

/// A set of services.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Members(Vec<u64>);

/// What each service needs directly or not, and what needs it: grows with each entry, so that an entry
/// that closes a cycle is known when it comes.
struct Reach {
    down: Vec<Members>,
    up: Vec<Members>,
}

impl StopOrder {
    /// Makes the order of services and what each says it needs. What cannot be honoured is left
    /// out, and said: names that are unknown, and the one entry that closes a cycle.
    pub fn of<'a>(services: impl IntoIterator<Item = (&'a str, &'a [String])>) -> (Self, Vec<String>) {
        let services: BTreeMap<&str, &[String]> = services.into_iter().collect();
        let numbers: BTreeMap<&str, usize> = services.keys().copied().zip(0..).collect();
        let mut reach = Reach::new(services.len());
        let mut needs = vec![Vec::new(); services.len()];
        let mut complaints = Vec::new();
        for (number, (name, needed)) in services.iter().enumerate() {
            for needed in *needed {
                match numbers.get(needed.as_str()) {
                    None => {
                        complaints.push(format!("{name} depends on {needed}, which is not running; ignored"));
                    }
                    Some(&other) if !reach.add(number, other) => {
                        complaints.push(format!("{name} depends on {needed}, which closes a cycle; ignored"));
                    }
                    Some(&other) => {
                        if let Some(needs) = needs.get_mut(number) {
                            needs.push(other);
                        }
                    }
                }
            }
        }
        if needs.iter().all(Vec::is_empty) {
            return (Self::default(), complaints);
        }
        let mut dependents = vec![Members::default(); services.len()];
        for (number, needs) in needs.iter().enumerate() {
            for needed in needs {
                if let Some(dependents) = dependents.get_mut(*needed) {
                    dependents.insert(number);
                }
            }
        }
        let numbers = numbers.into_iter().map(|(name, number)| (name.to_owned(), number)).collect();
        (Self { numbers, dependents, depths: depths(&needs, &reach) }, complaints)
    }

    /// Whether no service needs another.
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// The services with these names, for [`is_needed`](Self::is_needed).
    pub fn members<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Members {
        let mut members = Members::default();
        for number in names.into_iter().filter_map(|name| self.numbers.get(name)) {
            members.insert(*number);
        }
        members
    }

    /// Whether one of these services needs `name`, which is not stopped before it is down.
    pub fn is_needed(&self, name: &str, by: &Members) -> bool {
        let number = self.numbers.get(name);
        number.and_then(|number| self.dependents.get(*number)).is_some_and(|needing| needing.meets(by))
    }

    /// How many services, one after another, still have to go down when `name` is down: the
    /// longest chain of what it needs.
    pub fn depth(&self, name: &str) -> u32 {
        self.numbers.get(name).and_then(|number| self.depths.get(*number)).copied().unwrap_or(0)
    }
}

/// The longest chain below each service. A service reaches more than all that it needs, so those come
/// first in the order of how much they reach.
fn depths(needs: &[Vec<usize>], reach: &Reach) -> Vec<u32> {
    let mut depths = vec![0; needs.len()];
    let mut numbers: Vec<usize> = (0..needs.len()).collect();
    numbers.sort_by_cached_key(|number| reach.down.get(*number).map(Members::count));
    for number in numbers {
        let needs = needs.get(number).into_iter().flatten();
        let below = needs.filter_map(|needed| depths.get(*needed)).max();
        let depth = below.map_or(0, |below: &u32| below.saturating_add(1));
        if let Some(place) = depths.get_mut(number) {
            *place = depth;
        }
    }
    depths
}

impl Reach {
    /// Each service reaches itself.
    fn new(count: usize) -> Self {
        let own: Vec<Members> = (0..count).map(Members::of).collect();
        Self { down: own.clone(), up: own }
    }

    /// Notes that a service needs another; false if that closes a cycle, and is not noted.
    fn add(&mut self, service: usize, needed: usize) -> bool {
        let (Some(below), Some(above)) = (self.down.get(needed), self.up.get(service)) else { return false };
        if below.contains(service) {
            return false;
        }
        let Some(known) = self.down.get(service) else { return false };
        let (fresh, above) = (below.without(known), above.clone());
        for number in above.numbers() {
            if let Some(down) = self.down.get_mut(number) {
                down.extend(&fresh);
            }
        }
        for number in fresh.numbers() {
            if let Some(up) = self.up.get_mut(number) {
                up.extend(&above);
            }
        }
        true
    }
}

impl Members {
    const BITS: usize = u64::BITS as usize;

    fn of(number: usize) -> Self {
        let mut members = Self::default();
        members.insert(number);
        members
    }

    fn insert(&mut self, number: usize) {
        let place = number / Self::BITS;
        if self.0.len() <= place {
            self.0.resize(place + 1, 0);
        }
        if let Some(word) = self.0.get_mut(place) {
            *word |= 1 << (number % Self::BITS);
        }
    }

    fn contains(&self, number: usize) -> bool {
        self.0.get(number / Self::BITS).is_some_and(|word| word & (1 << (number % Self::BITS)) != 0)
    }

    fn extend(&mut self, others: &Self) {
        if self.0.len() < others.0.len() {
            self.0.resize(others.0.len(), 0);
        }
        for (word, other) in self.0.iter_mut().zip(&others.0) {
            *word |= other;
        }
    }

    fn without(&self, others: &Self) -> Self {
        let others = others.0.iter().copied().chain(std::iter::repeat(0));
        Self(self.0.iter().zip(others).map(|(word, other)| word & !other).collect())
    }

    fn meets(&self, others: &Self) -> bool {
        self.0.iter().zip(&others.0).any(|(word, other)| word & other != 0)
    }

    fn count(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    fn numbers(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().flat_map(|(place, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                let bit = (rest != 0).then(|| rest.trailing_zeros() as usize)?;
                rest &= rest - 1;
                Some(place * Self::BITS + bit)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(pairs: &[(&str, &[&str])]) -> (StopOrder, Vec<String>) {
        let owned: Vec<(&str, Vec<String>)> = pairs
            .iter()
            .map(|(name, needs)| (*name, needs.iter().map(ToString::to_string).collect()))
            .collect();
        StopOrder::of(owned.iter().map(|(name, needs)| (*name, needs.as_slice())))
    }

    #[test]
    fn a_service_goes_down_before_what_it_needs() {
        let (order, complaints) =
            order(&[("web", &["db", "cache"]), ("db", &["disk"]), ("cache", &[]), ("disk", &[])]);
        assert!(complaints.is_empty());
        let needed = |name, by| order.is_needed(name, &order.members([by]));
        assert!(needed("db", "web") && needed("cache", "web") && needed("disk", "db"));
        assert!(!needed("web", "db") && !needed("disk", "web") && !needed("ghost", "web"));
        assert!(!order.is_needed("db", &order.members([])));
        assert_eq!(["web", "db", "disk"].map(|name| order.depth(name)), [2, 1, 0]);
    }

    #[test]
    fn one_entry_of_a_cycle_is_left_out_and_said_once() {
        let (order, complaints) = order(&[("a", &["b"]), ("b", &["c"]), ("c", &["a"])]);
        assert_eq!(complaints, ["c depends on a, which closes a cycle; ignored"]);
        assert_eq!(["a", "b", "c"].map(|name| order.depth(name)), [2, 1, 0]);
    }

    #[test]
    fn a_service_that_needs_itself_or_an_unknown_one_is_not_held_up() {
        let (order, complaints) = order(&[("a", &["a", "ghost"])]);
        assert_eq!(complaints.len(), 2);
        assert!(order.is_empty());
    }

    #[test]
    fn many_services_that_need_all_before_them_are_ordered() {
        let names: Vec<String> = (0..800).map(|number| format!("s{number:04}")).collect();
        let services = names.iter().enumerate().map(|(count, name)| (name.as_str(), &names[..count]));
        let (order, complaints) = StopOrder::of(services);
        assert!(complaints.is_empty());
        assert_eq!([&names[0], &names[799]].map(|name| order.depth(name)), [0, 799]);
        let last = order.members(["s0799"]);
        assert!(order.is_needed("s0000", &last) && !order.is_needed("s0799", &last));
    }
}
