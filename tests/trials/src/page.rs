//! `docs/trials.md`, made from the trials; and that none of them is stale.
//!
//! `REWRITE=1 cargo test --package trials` writes the page anew.

#[cfg(test)]
mod tests {
    use crate::trial::{Item, read_all};
    use crate::{patch, root};
    use std::path::Path;

    const HEAD: &str = include_str!("../head.md");

    fn page(items: &[Item]) -> String {
        let mut page = HEAD.to_owned();
        for item in items {
            page.push_str(&format!("\n## {}\n\n| behaviour | fails without it |\n|---|---|\n", item.title));
            for trial in &item.trials {
                page.push_str(&format!("| {} | `{}` |\n", trial.row.replace('|', "\\|"), trial.test));
            }
        }
        page
    }

    #[test]
    fn the_page_is_current() {
        let path = root().join("docs/trials.md");
        let text = page(&read_all(&root()).unwrap_or_else(|error| panic!("{error}")));
        if std::env::var_os("REWRITE").is_some() {
            std::fs::write(&path, &text).expect("the page can be written");
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(written == text, "docs/trials.md is stale: REWRITE=1 cargo test --package trials");
    }

    #[test]
    fn every_trial_still_fits() {
        let items = read_all(&root()).unwrap_or_else(|error| panic!("{error}"));
        let trials: Vec<_> = items.iter().flat_map(|item| &item.trials).collect();
        patch::patched(&root(), &trials).unwrap_or_else(|error| panic!("{error}"));
    }

    #[test]
    fn every_test_is_there_and_no_behaviour_is_named_twice() {
        let items = read_all(&root()).unwrap_or_else(|error| panic!("{error}"));
        let library = text_of(&root().join("src"));
        let mut rows = Vec::new();
        let mut missing = Vec::new();
        for trial in items.iter().flat_map(|item| &item.trials) {
            let (binary, path) = trial.test.split_once("::").expect("binary::path");
            let name = path.rsplit("::").next().expect("a last part");
            let there = |text: &str| text.contains(&format!("fn {name}()"));
            let files = ["tests/sim/tests", "tests"].map(|folder| root().join(folder).join(format!("{binary}.rs")));
            let found = match binary {
                "lib" => there(&library),
                _ => files.iter().any(|file| std::fs::read_to_string(file).is_ok_and(|text| there(&text))),
            };
            if !found {
                missing.push(&trial.test);
            }
            assert!(!rows.contains(&&trial.row), "twice: {}", trial.row);
            rows.push(&trial.row);
        }
        assert!(missing.is_empty(), "no such tests: {missing:#?}");
    }

    fn text_of(folder: &Path) -> String {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let text = |path: std::path::PathBuf| match path.is_dir() {
            true => text_of(&path),
            false if path.extension().is_some_and(|extension| extension == "rs") => {
                std::fs::read_to_string(path).unwrap_or_default()
            }
            false => String::new(),
        };
        entries.map(text).collect()
    }
}
