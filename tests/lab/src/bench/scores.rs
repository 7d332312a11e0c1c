//! What the rounds of a [`sweep`](super::sweep) say together: a mean and its uncertainty for each line, as rows of the
//! report, as a table, and as a plot.

use super::report::{Aim, PEER, Row};
use super::station::Kind;
use super::sweep::{Heard, Line, Way};
use crate::measure::percentile;
use std::fmt::Write as _;

/// One kind on one line, over all rounds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Score {
    pub mean: f64,
    /// Standard error of the mean: the passages and rounds differ by luck.
    pub error: f64,
    pub delay_ms: Option<f64>,
}

/// Scores of ours and of the peer's settings, whichever is the better one for that line.
#[derive(Clone, PartialEq, Debug)]
pub struct Outcome {
    pub line: Line,
    pub ours: Option<Score>,
    pub best_peer: Option<(Kind, Score)>,
}

pub fn outcomes(lines: &[Line], heard: &[Heard]) -> Vec<Outcome> {
    let of = |line: &Line, kind| score(heard.iter().filter(|it| it.kind == kind && it.line == line.name));
    let outcome = |line: &Line| {
        let peers = [Kind::Peer, Kind::PeerAsShipped].map(|kind| of(line, kind).map(|score| (kind, score)));
        let best_peer = peers.into_iter().flatten().max_by(|a, b| a.1.mean.total_cmp(&b.1.mean));
        Outcome { line: line.clone(), ours: of(line, Kind::Ours), best_peer }
    };
    lines.iter().map(outcome).collect()
}

fn score<'a>(heard: impl Iterator<Item = &'a Heard> + Clone) -> Option<Score> {
    let scores: Vec<f64> = heard.clone().flat_map(|it| it.scores.iter().copied()).collect();
    let count = scores.len() as f64;
    let mean = (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / count)?;
    let spread = scores.iter().map(|score| (score - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
    let delays: Vec<f64> = heard.filter_map(|it| it.delay_ms).collect();
    Some(Score { mean, error: (spread / count).sqrt(), delay_ms: percentile(&delays, 0.5) })
}

impl Outcome {
    /// What two scores may differ by and still be alike: two standard errors of their difference, and 0.15, by which
    /// two runs of the same thing were seen to differ.
    pub fn noise(&self) -> Option<f64> {
        let (ours, (_, peer)) = (self.ours?, self.best_peer?);
        Some((2.0 * ours.error.hypot(peer.error)).max(0.15))
    }

    /// The bar that was laid down, or what the peer reached less the noise, whichever is higher.
    pub fn least(&self) -> Option<f64> {
        let beside = self.best_peer.zip(self.noise()).map(|((_, peer), noise)| peer.mean - noise);
        [self.line.bar, beside].into_iter().flatten().max_by(f64::total_cmp)
    }
}

/// `score_` and `delay_` of every line.
pub fn rows(outcomes: &[Outcome]) -> Vec<Row> {
    let mut rows = Vec::new();
    for outcome in outcomes {
        let peer = outcome.best_peer.map(|(_, score)| score);
        let name = match outcome.line.way {
            Way::Down | Way::Direct => format!("score_{}", outcome.line.name),
            Way::Up => outcome.line.name.replace("uplink_", "uplink_score_"),
        };
        let least = outcome.least().map(|least| Aim::AtLeast((least * 100.0).round() / 100.0));
        let means = (outcome.ours.map(|it| it.mean), peer.map(|it| it.mean));
        rows.push(Row::new(&name, "PESQ-WB", means.0, means.1, PEER).aim(least));
    }
    for outcome in outcomes {
        let peer = outcome.best_peer.and_then(|(_, score)| score.delay_ms);
        let ours = outcome.ours.and_then(|score| score.delay_ms);
        rows.push(Row::new(&format!("delay_{}", outcome.line.name), "ms", ours, peer, PEER));
    }
    rows
}

/// A table in Markdown.
pub fn table(outcomes: &[Outcome]) -> String {
    let mut text = String::from(
        "| line | ours | ± | best peer | ± | settings | at least | ours, ms | peer, ms |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    let number = |value: Option<f64>, digits: usize| value.map_or("-".into(), |value| format!("{value:.digits$}"));
    for outcome in outcomes {
        let (kind, peer) = outcome.best_peer.unzip();
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            outcome.line.name.replace('_', " "),
            number(outcome.ours.map(|it| it.mean), 2),
            number(outcome.ours.map(|it| it.error), 2),
            number(peer.map(|it| it.mean), 2),
            number(peer.map(|it| it.error), 2),
            match kind {
                Some(Kind::PeerAsShipped) => "as shipped",
                Some(Kind::Peer | Kind::Ours) => "least delay",
                None => "-",
            },
            number(outcome.least(), 2),
            number(outcome.ours.and_then(|it| it.delay_ms), 0),
            number(peer.and_then(|it| it.delay_ms), 0),
        );
    }
    text
}

/// Scores over loss: random, in bursts, and on the way up, side by side.
pub fn plot(outcomes: &[Outcome]) -> String {
    const PANELS: [(&str, &str); 4] = [
        ("lost at random, mixer to listener", "loss_N_random"),
        ("lost in bursts, mixer to listener", "loss_N_burst"),
        ("lost at random, speaker to mixer", "uplink_N"),
        ("lost at random, station to station", "direct_N"),
    ];
    const LOSSES: [u32; 6] = [0, 2, 5, 10, 20, 30];
    const WIDE: f64 = 300.0;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} 320\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        PANELS.len() as f64 * WIDE + 20.0
    );
    let y = |score: f64| 40.0 + (4.7 - score) / 3.7 * 220.0;
    for (panel, (title, names)) in PANELS.into_iter().enumerate() {
        let left = 40.0 + panel as f64 * WIDE;
        let x = |percent: u32| left + f64::from(percent) / 30.0 * 230.0;
        let _ = writeln!(text, "<text x=\"{left}\" y=\"24\" font-size=\"13\">{title}</text>");
        for score in 1..=4 {
            let y = y(f64::from(score));
            let _ = writeln!(text, "<path d=\"M{left} {y:.1}h230\" stroke=\"#ddd\"/>");
            let _ =
                writeln!(text, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{score}</text>", left - 6.0, y + 4.0);
        }
        for percent in LOSSES {
            let _ = writeln!(text, "<text x=\"{:.1}\" y=\"278\" text-anchor=\"middle\">{percent} %</text>", x(percent));
        }
        let at = |percent: u32| {
            let name = names.replace('N', &percent.to_string());
            outcomes.iter().find(|outcome| outcome.line.name == name)
        };
        for (colour, of) in CURVES {
            let points = LOSSES.iter().filter_map(|percent| Some((x(*percent), at(*percent).and_then(of)?)));
            let points: Vec<(f64, Score)> = points.collect();
            let path: Vec<String> = points.iter().map(|(x, score)| format!("{x:.1},{:.1}", y(score.mean))).collect();
            let _ = writeln!(
                text,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
                path.join(" ")
            );
            for (x, score) in points {
                let (high, low) = (y(score.mean + 2.0 * score.error), y(score.mean - 2.0 * score.error));
                let _ = writeln!(text, "<path d=\"M{x:.1} {high:.1}V{low:.1}\" stroke=\"{colour}\"/>");
                let _ = writeln!(text, "<circle cx=\"{x:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>", y(score.mean));
            }
        }
        for percent in LOSSES {
            let Some(bar) = at(percent).and_then(|outcome| outcome.line.bar) else { continue };
            let _ = writeln!(
                text,
                "<path d=\"M{:.1} {:.1}h14\" stroke=\"black\" stroke-width=\"2\"/>",
                x(percent) - 7.0,
                y(bar)
            );
        }
    }
    let legend = [("#0a6", "ours"), ("#c40", "best settings of the peer"), ("black", "bar")];
    for (at, (colour, words)) in legend.into_iter().enumerate() {
        let x = 40.0 + at as f64 * 200.0;
        let _ = writeln!(text, "<path d=\"M{x} 304h20\" stroke=\"{colour}\" stroke-width=\"2\"/>");
        let _ = writeln!(text, "<text x=\"{}\" y=\"308\">{words}</text>", x + 26.0);
    }
    text + "</svg>\n"
}

type Curve = (&'static str, fn(&Outcome) -> Option<Score>);
const CURVES: [Curve; 2] =
    [("#0a6", |outcome| outcome.ours), ("#c40", |outcome| outcome.best_peer.map(|(_, score)| score))];

#[cfg(test)]
mod tests {
    use super::super::sweep::lines;
    use super::*;

    fn heard(line: &str, kind: Kind, scores: &[f64]) -> Heard {
        Heard { line: line.into(), kind, scores: scores.into(), spoilt: 0, delay_ms: Some(60.0), media: None }
    }

    #[test]
    fn ours_has_to_reach_the_bar_and_the_better_of_the_peers() {
        let all = [
            heard("loss_5_random", Kind::Ours, &[2.6, 2.8]),
            heard("loss_5_random", Kind::Ours, &[]),
            heard("loss_5_random", Kind::Peer, &[2.0, 2.2]),
            heard("loss_5_random", Kind::PeerAsShipped, &[3.1, 3.3]),
        ];
        let outcomes = outcomes(&lines(), &all);
        let outcome = outcomes.iter().find(|it| it.line.name == "loss_5_random").expect("a line of that name");
        assert!(
            (outcome.ours.expect("rated").mean - 2.7).abs() < 1e-9,
            "a round without a clean passage counts for nothing"
        );
        assert_eq!(outcome.best_peer.map(|(kind, _)| kind), Some(Kind::PeerAsShipped));
        let least = outcome.least().expect("there is a bar");
        assert!((least - (3.2 - outcome.noise().expect("both"))).abs() < 1e-9 && least > 2.6, "{least}");
        let rows = rows(&outcomes);
        let row = rows.iter().find(|row| row.name == "score_loss_5_random").expect("a row of that name");
        assert_eq!(row.met(), Some(false));
        assert!(
            rows.iter().any(|row| row.name == "uplink_score_10")
                && rows.iter().any(|row| row.name == "delay_jitter_80")
        );
        assert!(table(&outcomes).contains("| loss 5 random | 2.70 |"));
        assert!(plot(&outcomes).matches("<circle").count() == 2 && plot(&outcomes).ends_with("</svg>\n"));
    }
}
