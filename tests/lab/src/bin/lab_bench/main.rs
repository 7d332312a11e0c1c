//! `lab-bench`: the endpoint and Debian's baresip, measured in the same run by the same means; see `docs/bench.md`.
//!
//! The measurement has parts, each of which adds rows to the report. A part that fails soon is tried once more; then
//! its rows are missing and the exit is not zero.
#![allow(clippy::disallowed_types)]

mod card;
mod day;
mod inside;
mod lines;
mod minutes;
mod recovery;
mod visits;

use lab::bench::canary::Canary;
use lab::bench::codec;
use lab::bench::report::{self, Row};
use lab::bench::station::Stage;
use lab::bench::visit::Busy;
use lab::process::endpoint_binary;
use lexopt::{Arg, ValueExt};
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const USAGE: &str = "lab-bench [--endpoint PROGRAM] [--report FILE.json] [--quick | --full] [--only PART]...
  --quick   as little of each part as there is, for trying things out
  --full    as much of each part as forty minutes hold, and table and plot into docs/
  --only    this part and no other: visits, inside, recovery, lines, minutes, card, day";

/// Below this, percent of all processors, the machine is quiet; waited for at most so long.
const QUIET: f64 = 10.0;
const QUIET_PATIENCE: Duration = Duration::from_secs(30);

struct Options {
    endpoint: PathBuf,
    report: PathBuf,
    size: Size,
    only: Vec<String>,
}

/// How much time there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Size {
    Quick,
    /// `make bench`: ten minutes.
    Usual,
    /// `make bench-full`: forty.
    Full,
}

/// What every part is given.
struct Lab {
    stage: Stage,
    canary: Canary,
    size: Size,
    /// Stations at once.
    carries: usize,
    /// Where what is behind the rows goes.
    folder: PathBuf,
}

type Rows = Result<Vec<Row>, Box<dyn Error>>;
type Part = (&'static str, fn(&Lab) -> Rows);
const VISITS: Part = ("visits", visits::measure);
const INSIDE: Part = ("inside", inside::measure);
const RECOVERY: Part = ("recovery", recovery::measure);
const LINES: Part = ("lines", lines::measure);
const MINUTES: Part = ("minutes", minutes::measure);
const CARD: Part = ("card", card::measure);
const DAY: Part = ("day", day::measure);
const ALL: [Part; 7] = [VISITS, INSIDE, RECOVERY, LINES, MINUTES, CARD, DAY];

/// What `recovery`, `minutes` and `card` together want.
const SIDE_BY_SIDE: usize = 30;

impl Size {
    /// One after the other; the parts of a line side by side, because what they measure does not mind. So many stations begin at
    /// once in `lines` that a card may run dry meanwhile: what lasts no longer than `recovery` goes beside that, where the machine
    /// carries so many stations.
    const fn parts(self, carries: usize) -> &'static [&'static [Part]] {
        match (self, carries) {
            (Size::Quick | Size::Usual, SIDE_BY_SIDE..) => {
                &[&[VISITS], &[INSIDE], &[RECOVERY, MINUTES, CARD], &[LINES]]
            }
            (Size::Quick | Size::Usual, _) => &[&[VISITS], &[INSIDE], &[RECOVERY], &[MINUTES, CARD], &[LINES]],
            (Size::Full, SIDE_BY_SIDE..) => &[&[VISITS], &[INSIDE], &[RECOVERY, CARD], &[LINES, MINUTES, DAY]],
            (Size::Full, _) => &[&[VISITS], &[INSIDE], &[RECOVERY], &[CARD, MINUTES, DAY], &[LINES]],
        }
    }
}

/// What failed sooner than this is tried once more.
const TRY_AGAIN: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    match read_options().and_then(|options| measure(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every part gave its rows.
fn measure(options: &Options) -> Result<bool, Box<dyn Error>> {
    if !options.endpoint.exists() {
        return Err(format!("there is no {}: cargo build --release", options.endpoint.display()).into());
    }
    let began = Instant::now();
    let folder = options.report.parent().map(PathBuf::from).unwrap_or_default();
    wait_for_quiet();
    let codec = codec::cost(2)?;
    let carries = codec.stations(std::thread::available_parallelism()?.get());
    println!("libopus takes {:.2} % of a core here: {carries} stations at once", codec.sum());
    let stage = Stage::build(options.endpoint.clone())?;
    let lab = Lab { stage, canary: Canary::start()?, size: options.size, carries, folder };
    let (mut rows, mut complete) = (Vec::new(), true);
    for parts in layout(options, carries) {
        let wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|only| only == name);
        let parts: Vec<Part> = parts.iter().copied().filter(|(name, _)| wanted(name)).collect();
        if parts.is_empty() {
            continue;
        }
        let names: Vec<&str> = parts.iter().map(|(name, _)| *name).collect();
        println!("\n{:4} s  {}", began.elapsed().as_secs(), names.join(", "));
        let tried = std::thread::scope(|scope| {
            let threads: Vec<_> = parts.iter().map(|part| scope.spawn(|| attempt(&lab, part))).collect();
            let died = || Err("its thread has died".to_string());
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| died())).collect::<Vec<_>>()
        });
        for ((name, _), tried) in parts.iter().zip(tried) {
            match tried {
                Ok(more) => rows.extend(more),
                Err(error) => {
                    println!("        {name} FAILED, its rows are missing: {error}");
                    complete = false;
                }
            }
        }
    }
    report::write(&options.report, &rows)?;
    print!("{}", report::table(&rows));
    if !lab.canary.is_realtime() {
        println!("note: no right to SCHED_FIFO here, neither for the endpoint nor for the canary");
    }
    let missed = rows.iter().filter(|row| row.met() == Some(false)).count();
    println!("\n{} s; {missed} aims missed; {}", began.elapsed().as_secs(), options.report.display());
    Ok(complete)
}

/// What the size holds; if a part is asked for that it does not, what there is.
fn layout(options: &Options, carries: usize) -> &'static [&'static [Part]] {
    let parts = options.size.parts(carries);
    let holds = |only: &String| parts.iter().copied().flatten().any(|(name, _)| name == only);
    if options.only.iter().all(holds) { parts } else { Size::Full.parts(carries) }
}

fn attempt(lab: &Lab, (name, part): &Part) -> Result<Vec<Row>, String> {
    let began = Instant::now();
    let tried = part(lab).or_else(|error| {
        if began.elapsed() > TRY_AGAIN {
            return Err(error);
        }
        println!("        {name}, to be tried again: {error}");
        part(lab)
    });
    tried.map_err(|error| error.to_string())
}

fn wait_for_quiet() {
    let end = Instant::now() + QUIET_PATIENCE;
    loop {
        let busy = Busy::start();
        std::thread::sleep(Duration::from_secs(2));
        let percent = busy.read();
        if percent < QUIET || Instant::now() > end {
            println!("the machine is {percent:.0} % busy with other things at the start");
            return;
        }
    }
}

fn read_options() -> Result<Options, Box<dyn Error>> {
    let mut options = Options {
        endpoint: endpoint_binary(),
        report: "target/bench/report.json".into(),
        size: Size::Usual,
        only: Vec::new(),
    };
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Long("endpoint") => options.endpoint = arguments.value()?.into(),
            Arg::Long("report") => options.report = arguments.value()?.parse()?,
            Arg::Long("quick") => options.size = Size::Quick,
            Arg::Long("full") => options.size = Size::Full,
            Arg::Long("only") => {
                let part = arguments.value()?.string()?;
                if !ALL.iter().any(|(name, _)| *name == part) {
                    return Err(USAGE.into());
                }
                options.only.push(part);
            }
            _ => return Err(USAGE.into()),
        }
    }
    Ok(options)
}
