//! Hands: which service needs which, as their `dependencies.d` say.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// How many services of a circle are named.
const NAMED: usize = 12;

/// How many needs are looked at for the way from one service back to itself.
const MOST_LOOKS: usize = 100_000;

/// More than [`MOST_LOOKS`].
struct TooMuch;

/// What is known of the services below some directories. Each `dependencies.d` is read once, however many
/// services lead to it.
#[derive(Default)]
pub struct Needs {
    places: HashMap<PathBuf, usize>,
    services: Vec<Service>,
}

struct Service {
    place: PathBuf,
    is_there: bool,
    /// What it needs, by number and sorted by name; nothing before it has been read.
    needs: Option<Vec<usize>>,
    leads: Leads,
}

/// Whether the way on from a service comes back to itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leads {
    NotKnown,
    /// It is being followed.
    Open,
    /// It ends, whichever way is taken.
    Nowhere,
    /// There is a circle on it.
    IntoCircle,
}

impl Needs {
    /// What the service at `dir` needs, and is not there.
    pub fn missing(&mut self, dir: &Path) -> Vec<String> {
        let Some(own) = self.number_of(dir) else { return Vec::new() };
        let needs = self.needs(own).to_vec();
        let services = needs.into_iter().filter_map(|need| self.services.get(need));
        services.filter(|service| !service.is_there).map(Service::name).collect()
    }

    /// What is wrong with the ways on from the service at `dir`, if one of them does not end.
    pub fn circle(&mut self, dir: &Path) -> Option<String> {
        let own = self.number_of(dir)?;
        self.follow(own);
        if self.leads(own) != Leads::IntoCircle {
            return None;
        }
        match self.way_back(own) {
            Ok(None) => None,
            Ok(Some(names)) => Some(format!("needs itself: {}; break the circle", names.join(" needs "))),
            Err(TooMuch) => Some("needs services that need themselves; break the circle".to_owned()),
        }
    }

    /// The shortest way from a service back to itself, if there is one.
    fn way_back(&self, own: usize) -> Result<Option<Vec<String>>, TooMuch> {
        // From where each was first reached, the nearest first.
        let mut before: Vec<Option<usize>> = vec![None; self.services.len()];
        let mut reached = vec![own];
        let mut next = 0;
        let mut looked_at = 0;
        while let Some(&service) = reached.get(next) {
            next += 1;
            let needs = self.services.get(service).and_then(|it| it.needs.as_deref()).unwrap_or_default();
            looked_at += needs.len();
            if needs.contains(&own) {
                return Ok(Some(self.names(own, service, &before)));
            }
            if looked_at > MOST_LOOKS {
                return Err(TooMuch);
            }
            for &need in needs {
                if self.leads(need) == Leads::IntoCircle
                    && let Some(before @ None) = before.get_mut(need)
                {
                    *before = Some(service);
                    reached.push(need);
                }
            }
        }
        Ok(None)
    }

    /// The names of a circle, from a service to the last of it and again to the first.
    fn names(&self, own: usize, last: usize, before: &[Option<usize>]) -> Vec<String> {
        let name = |number: &usize| self.services.get(*number).map(Service::name).unwrap_or_default();
        let back = |it: &usize| before.get(*it).copied().flatten();
        let mut way: Vec<usize> = std::iter::successors(Some(last), back).collect();
        way.reverse();
        let mut names: Vec<String> = way.iter().take(NAMED).map(name).collect();
        if way.len() > NAMED {
            names.push(format!("{} others", way.len() - NAMED));
        }
        names.push(name(&own));
        names
    }

    /// Finds out whether there is a circle on the way on from a service: each service is followed once,
    /// whatever leads to it.
    fn follow(&mut self, first: usize) {
        let mut way = vec![(first, 0)];
        while let Some((service, next)) = way.last_mut() {
            let service = *service;
            if *next == 0 && self.leads(service) == Leads::NotKnown {
                self.set(service, Leads::Open);
            } else if *next == 0 {
                way.pop();
                continue;
            }
            if let Some(&need) = self.needs(service).get(*next) {
                *next += 1;
                way.push((need, 0));
                continue;
            }
            way.pop();
            let ends = |need: &usize| self.leads(*need) == Leads::Nowhere;
            let needs = self.services.get(service).and_then(|it| it.needs.as_ref());
            let ends = needs.is_none_or(|needs| needs.iter().all(ends));
            self.set(service, if ends { Leads::Nowhere } else { Leads::IntoCircle });
        }
    }

    fn leads(&self, service: usize) -> Leads {
        self.services.get(service).map_or(Leads::Nowhere, |it| it.leads)
    }

    fn set(&mut self, service: usize, leads: Leads) {
        if let Some(service) = self.services.get_mut(service) {
            service.leads = leads;
        }
    }

    fn number_of(&mut self, dir: &Path) -> Option<usize> {
        let path = std::path::absolute(dir).ok()?;
        Some(self.number(path.parent()?, path.file_name()?))
    }

    fn number(&mut self, parent: &Path, name: &OsStr) -> usize {
        let place = parent.join(name);
        if let Some(number) = self.places.get(&place) {
            return *number;
        }
        let number = self.services.len();
        let is_there = place.is_dir();
        self.places.insert(place.clone(), number);
        self.services.push(Service { place, is_there, needs: None, leads: Leads::NotKnown });
        number
    }

    fn needs(&mut self, service: usize) -> &[usize] {
        if let Some(Service { place, needs: None, .. }) = self.services.get(service) {
            let place = place.clone();
            let entries = fs_err::read_dir(place.join("dependencies.d"));
            let names = entries.into_iter().flatten().filter_map(Result::ok).map(|entry| entry.file_name());
            let mut names: Vec<OsString> = names.filter(|name| !is_hidden(name)).collect();
            names.sort_unstable();
            let parent = place.parent().unwrap_or(&place);
            let read = names.iter().map(|name| self.number(parent, name)).collect();
            if let Some(service) = self.services.get_mut(service) {
                service.needs = Some(read);
            }
        }
        self.services.get(service).and_then(|it| it.needs.as_deref()).unwrap_or_default()
    }
}

impl Service {
    fn name(&self) -> String {
        self.place.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}
