//! Tells the catalogue: each mutant, what it breaks, and the test that noticed it last.
//!
//! Owns the words and the JSON of that list. Never: runs a mutant, or judges one.

use anyhow::Result;
use serde_json::{Value, json};

use super::catalog::{Kind, Mutant};

/// Prints those that were chosen, by name. Always good: a list asks for nothing.
///
/// # Errors
/// None; the tasks beside it have some.
pub(crate) fn run(chosen: &[Mutant], as_json: bool) -> Result<bool> {
    if as_json {
        println!("{:#}", json_of(chosen));
    } else {
        for mutant in chosen {
            println!("{}", line(mutant));
        }
        let safety = chosen.iter().filter(|one| one.kind == Kind::Safety).count();
        let noticed = chosen.iter().filter(|one| one.caught_by.is_some()).count();
        println!(
            "mutants: {}, {safety} of safety, {noticed} with the test that noticed them",
            chosen.len()
        );
    }
    Ok(true)
}

/// One line: name, S or L, what it breaks, and the test.
fn line(mutant: &Mutant) -> String {
    let kind = match mutant.kind {
        Kind::Safety => "S",
        Kind::Liveness => "L",
    };
    let test = mutant.caught_by.as_deref().unwrap_or("not run yet");
    format!("{:<34} {kind}  {}  ({test})", mutant.name, mutant.breaks)
}

fn json_of(chosen: &[Mutant]) -> Value {
    let entry = |mutant: &Mutant| {
        json!({
            "name": mutant.name,
            "breaks": mutant.breaks,
            "kind": mutant.kind.name(),
            "tests": mutant.tests,
            "caught_by": mutant.caught_by,
        })
    };
    json!({
        "schema": 1,
        "mutants": chosen.iter().map(entry).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::catalog;
    use super::*;

    #[test]
    fn a_mutant_is_told_with_what_it_breaks_and_what_noticed_it() {
        let header = "# name: a\n# breaks: R1: x\n# kind: liveness\n# tests: p\n";
        let diff = "--- a/log/x.rs\n+++ b/log/x.rs\n@@ -1 +1 @@\n-x > 1\n+x > 2\n";
        let of = |caught_by: &str| {
            catalog::parse("a.patch", &format!("{header}{caught_by}{diff}")).expect("a patch")
        };
        let (known, unknown) = (of("# caught by: p t m::it_holds\n"), of(""));
        assert!(line(&known).ends_with("L  R1: x  (p t m::it_holds)"));
        assert!(line(&unknown).ends_with("(not run yet)"));
        let json = json_of(&[known, unknown]);
        assert_eq!(json["mutants"][0]["caught_by"], "p t m::it_holds");
        assert_eq!(json["mutants"][1]["caught_by"], Value::Null);
        assert_eq!(json["mutants"][1]["tests"], json!(["p"]));
    }
}
