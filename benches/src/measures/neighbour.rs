//! What a service notices of a neighbour that behaves badly.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use fs_err::{self as fs, File, OpenOptions};

use super::{HOSTS, Measure, Runs, alternate, milliseconds};
use crate::Outcome;
use crate::events::{Events, LIMIT};
use crate::family::Family;
use crate::table::{Goal, Row};
use crate::tree::{GROWN_UP, ServiceTree, end};

pub(super) const MEASURE: Measure = Measure {
    name: "neighbour",
    about: "from a byte in a service's control FIFO to the signal, beside a neighbour that behaves badly",
    note: "a byte every 5 ms, and the slowest of a run counts; the neighbour with many children has them all \
           before the first, is told to be down half-way, and leaves them to process 1",
    run,
};

/// Writes to its own control FIFO as fast as it can.
const FLOODS: &str = r"exec tr '\0' u </dev/zero >supervise/control";

/// Makes COUNT children, in a perl: the table of jobs of a shell would be copied for each.
const HAS_CHILDREN: &str =
    r#"exec perl -e 'for (1..COUNT) { fork or sleep } open my $file, ">", "complete"; sleep'"#;

#[derive(Clone, Copy, Debug)]
enum Neighbour {
    Floods,
    /// As many services that end at once.
    CrashLoops(u32),
    HasChildren(u32),
}

fn run(runs: Runs) -> Outcome<Vec<Row>> {
    let children = runs.of(20_000, 2_000);
    let cases = [
        (Neighbour::Floods, "a flooded control FIFO".to_owned()),
        (Neighbour::CrashLoops(100), "100 crash loops".to_owned()),
        (Neighbour::HasChildren(children), format!("{children} children")),
    ];
    let mut rows = Vec::new();
    for (neighbour, name) in cases {
        let bytes = runs.of(400, 100);
        let [slowest] = alternate(&HOSTS, runs.of(3, 1), |family| slowest(family, neighbour, bytes))?;
        let what = format!("slowest control byte beside {name}, ms");
        rows.extend(slowest.rows_with_goal(&what, Family::Runit, Goal::Value(20.0)));
    }
    Ok(rows)
}

fn slowest(family: Family, neighbour: Neighbour, bytes: u32) -> Outcome<[f64; 1]> {
    let tree = ServiceTree::new(1)?;
    let dir = neighbour.add(&tree)?;
    let mut contained = tree.contain(family, Duration::ZERO)?;
    contained.tree.events.one()?;
    if let Neighbour::HasChildren(_) = neighbour {
        await_file(&dir.join("complete"))?;
    }
    thread::sleep(GROWN_UP);
    let control = control(&contained.tree.service(0))?;
    let mut probe = Probe { events: &mut contained.tree.events, control, slowest: Duration::ZERO };
    probe.send(bytes)?;
    if let Neighbour::HasChildren(_) = neighbour {
        self::control(&dir)?.write_all(b"d")?;
        probe.send(bytes)?;
    }
    let slowest = milliseconds(probe.slowest);
    // The end of many processes takes long, and would delay the next bytes.
    end(contained.namespace.first()?)?;
    contained.namespace.await_end()?;
    Ok([slowest])
}

impl Neighbour {
    /// Adds it to a tree: a service directory of that name, or more of them.
    fn add(self, tree: &ServiceTree) -> Outcome<PathBuf> {
        let script = match self {
            Self::Floods => FLOODS.to_owned(),
            Self::HasChildren(count) => HAS_CHILDREN.replace("COUNT", &count.to_string()),
            Self::CrashLoops(count) => {
                for number in 1..count {
                    tree.add(&format!("neighbour{number}"), Path::new("/bin/false"))?;
                }
                "exit 1".to_owned()
            }
        };
        let program = tree.place("programs")?.join("neighbour");
        fs::write(&program, format!("#!/bin/sh\n{script}\n"))?;
        fs::set_permissions(&program, Permissions::from_mode(0o755))?;
        tree.add("neighbour", &program)
    }
}

/// Sends bytes to a service, and waits for its answer to each.
#[derive(Debug)]
struct Probe<'a> {
    events: &'a mut Events,
    control: File,
    slowest: Duration,
}

impl Probe<'_> {
    fn send(&mut self, bytes: u32) -> Outcome<()> {
        for _ in 0..bytes {
            let start = Instant::now();
            self.control.write_all(b"1")?;
            self.slowest = self.slowest.max(self.events.one()?.at - start);
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

fn await_file(file: &Path) -> Outcome<()> {
    let begin = Instant::now();
    while !file.exists() {
        if begin.elapsed() > LIMIT {
            return Err(format!("waited {LIMIT:?} in vain for {}", file.display()).into());
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// The control FIFO of a service.
fn control(service: &Path) -> Outcome<File> {
    Ok(OpenOptions::new().write(true).open(service.join("supervise/control"))?)
}
