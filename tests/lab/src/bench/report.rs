//! What was measured, as a file for programs and a table for people.

use serde_json::{Value, json};
use std::io;
use std::path::Path;

/// A number of both, in the same unit. Smaller is better, except for scores.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    pub name: String,
    pub unit: String,
    pub ours: Option<f64>,
    /// Not for what only ours has.
    pub peer: Option<f64>,
    pub peer_name: String,
    pub aim: Option<Aim>,
}

/// What was laid down for a number of ours.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Aim {
    /// Ours divided by the peer's, at most.
    Ratio(f64),
    AtMost(f64),
    AtLeast(f64),
    Within(f64, f64),
}

/// The one whose settings are the best we know.
pub const PEER: &str = "baresip 1.0";

impl Row {
    pub fn new(name: &str, unit: &str, ours: Option<f64>, peer: Option<f64>, peer_name: &str) -> Row {
        Row { name: name.into(), unit: unit.into(), ours, peer, peer_name: peer_name.into(), aim: None }
    }

    /// A number that nobody else has.
    pub fn alone(name: &str, unit: &str, ours: Option<f64>) -> Row {
        Row::new(name, unit, ours, None, "")
    }

    pub fn aim(self, aim: Option<Aim>) -> Row {
        Row { aim, ..self }
    }

    /// Whether the aim was reached; `None` without one. What was not measured has not reached it.
    pub fn met(&self) -> Option<bool> {
        let holds = |value: Option<f64>, holds: &dyn Fn(f64) -> bool| value.is_some_and(holds);
        Some(match self.aim? {
            Aim::Ratio(most) => holds(self.ratio(), &|ratio| ratio <= most),
            Aim::AtMost(most) => holds(self.ours, &|ours| ours <= most),
            Aim::AtLeast(least) => holds(self.ours, &|ours| ours >= least),
            Aim::Within(least, most) => holds(self.ours, &|ours| (least..=most).contains(&ours)),
        })
    }

    /// Ours divided by the peer's.
    pub fn ratio(&self) -> Option<f64> {
        self.ours.zip(self.peer).filter(|(_, peer)| *peer > 0.0).map(|(ours, peer)| ours / peer)
    }

    fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "unit": self.unit,
            "ours": self.ours.map(|it| rounded(it, 3)),
            "peer": self.peer.map(|it| rounded(it, 3)),
            "peer_name": self.peer_name,
            "ratio": self.ratio().map(|it| rounded(it, 4)),
            "aim": self.aim.map(Aim::words),
            "met": self.met(),
        })
    }

    fn to_line(&self) -> String {
        let number = |value: Option<f64>| {
            value.map_or(
                "-".into(),
                |value| {
                    if value >= 1000.0 { format!("{value:.0}") } else { format!("{value:.2}") }
                },
            )
        };
        let ratio = self.ratio().map_or("-".into(), |ratio| format!("{ratio:.2}"));
        let verdict = match (self.aim, self.met()) {
            (Some(aim), Some(true)) => aim.words(),
            (Some(aim), _) => aim.words() + " MISSED",
            (None, _) => String::new(),
        };
        let (ours, peer) = (number(self.ours), number(self.peer));
        format!("{:<34}{ours:>12}{peer:>12}  {:<18}{ratio:>7}  {verdict}", self.name, self.unit)
    }
}

impl Aim {
    fn words(self) -> String {
        match self {
            Aim::Ratio(most) => format!("ratio <= {most}"),
            Aim::AtMost(most) => format!("<= {most}"),
            Aim::AtLeast(least) => format!(">= {least}"),
            Aim::Within(least, most) => format!("{least} to {most}"),
        }
    }
}

/// The list of the rows, as `docs/bench.md` describes it.
pub fn write(file: &Path, rows: &[Row]) -> io::Result<()> {
    write_json(file, &rows.iter().map(Row::to_json).collect())
}

/// Makes the folder, too.
pub fn write_json(file: &Path, value: &Value) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(file, serde_json::to_string_pretty(value)? + "\n")
}

/// One line for each row, with a heading for each peer.
pub fn table(rows: &[Row]) -> String {
    let mut text = String::new();
    let mut peer = "nobody";
    for row in rows {
        if row.peer_name != peer {
            peer = &row.peer_name;
            let heading = if peer.is_empty() { "of ours alone".to_string() } else { format!("against {peer}") };
            text.push_str(&format!(
                "\n{heading}\n{:<34}{:>12}{:>12}  {:<18}{:>7}  aim\n",
                "", "ours", "peer", "", "ratio"
            ));
        }
        text.push_str(row.to_line().trim_end());
        text.push('\n');
    }
    text
}

fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_fields_of_the_report_and_nothing_divided_by_zero() {
        let row = Row::new("x", "ms", Some(3.0), Some(4.0), "them").aim(Some(Aim::Ratio(0.7)));
        let expected = json!({"name":"x","unit":"ms","ours":3.0,"peer":4.0,"peer_name":"them","ratio":0.75,
            "aim":"ratio <= 0.7","met":false});
        assert_eq!(row.to_json(), expected);
        assert!(row.to_line().contains("MISSED"));
        assert_eq!(Row::new("x", "ms", Some(3.0), Some(0.0), "them").to_json()["ratio"], Value::Null);
    }

    #[test]
    fn an_aim_is_reached_by_what_was_measured_only() {
        let met = |ours, aim| Row::alone("x", "", ours).aim(Some(aim)).met();
        assert_eq!(met(Some(3.5), Aim::AtLeast(3.5)), Some(true));
        assert_eq!(met(Some(251.0), Aim::AtMost(250.0)), Some(false));
        assert_eq!(met(Some(19.4), Aim::Within(19.5, 20.5)), Some(false));
        assert_eq!(met(None, Aim::AtMost(1.0)), Some(false));
        assert_eq!(Row::alone("x", "", Some(1.0)).met(), None);
    }
}
