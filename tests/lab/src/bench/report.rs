//! What was measured, as a file for programs and a table for people.

use serde_json::{Value, json};
use std::io;
use std::path::Path;

/// A number of both, in the same unit. Smaller is better for every one.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    pub name: String,
    pub unit: String,
    pub ours: Option<f64>,
    pub peer: Option<f64>,
    pub peer_name: String,
    /// Most that the ratio shall be; for the table only.
    pub aim: Option<f64>,
}

/// The one whose settings are the best we know.
pub const PEER: &str = "baresip 1.0";

impl Row {
    pub fn new(name: &str, unit: &str, ours: Option<f64>, peer: Option<f64>, peer_name: &str) -> Row {
        Row { name: name.into(), unit: unit.into(), ours, peer, peer_name: peer_name.into(), aim: None }
    }

    pub fn aim(self, aim: Option<f64>) -> Row {
        Row { aim, ..self }
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
        let verdict = match (self.ratio(), self.aim) {
            (Some(ratio), Some(aim)) if ratio <= aim => format!("<= {aim:.1}"),
            (Some(_), Some(aim)) => format!("<= {aim:.1} MISSED"),
            (_, _) => String::new(),
        };
        let (ours, peer) = (number(self.ours), number(self.peer));
        format!("{:<28}{ours:>12}{peer:>12}  {:<18}{ratio:>7}  {verdict}", self.name, self.unit)
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
    let mut peer = "";
    for row in rows {
        if row.peer_name != peer {
            peer = &row.peer_name;
            text.push_str(&format!(
                "\nagainst {peer}\n{:<28}{:>12}{:>12}  {:<18}{:>7}  aim\n",
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
        let row = Row::new("x", "ms", Some(3.0), Some(4.0), "them").aim(Some(0.7));
        let expected = json!({"name":"x","unit":"ms","ours":3.0,"peer":4.0,"peer_name":"them","ratio":0.75});
        assert_eq!(row.to_json(), expected);
        assert!(row.to_line().contains("MISSED"));
        assert_eq!(Row::new("x", "ms", Some(3.0), Some(0.0), "them").to_json()["ratio"], Value::Null);
    }
}
