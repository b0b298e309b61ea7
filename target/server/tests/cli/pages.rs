//! The manual page and the completions: made from the command line's definition, and complete.

use std::process::Command;

use crate::support::process::{command, folder};

/// The long flags in a text.
fn flags(text: &str) -> Vec<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).filter(|word| word.starts_with("--"));
    let mut flags: Vec<_> = words.filter(|word| word.len() > 2).collect();
    flags.sort_unstable();
    flags.dedup();
    flags
}

#[test]
fn every_flag_is_in_the_manual_page_and_in_the_completions() {
    let folder = folder();
    let made = command(&["pages"]).arg(folder.path()).output().expect("it runs");
    assert!(made.status.success(), "{made:?}");
    let help = command(&["--help"]).output().expect("it runs").stdout;
    let help = String::from_utf8_lossy(&help);
    let wanted = flags(&help);
    assert!(wanted.len() > 20, "{wanted:?}");
    for file in ["iesp.1", "iesp.bash", "_iesp", "iesp.fish", "_iesp.ps1"] {
        let text = std::fs::read_to_string(folder.path().join(file)).expect(file);
        // roff escapes the dash and names fonts; fish names flags without dashes.
        let text = ["\\fB", "\\fI", "\\fR"].iter().fold(text, |text, font| text.replace(font, " "));
        let text = text.replace("\\-", "-").replace(" -l ", " --");
        let there = flags(&text);
        let missing: Vec<_> = wanted.iter().filter(|flag| !there.contains(flag)).collect();
        assert!(missing.is_empty(), "{file} lacks {missing:?}");
    }
    let page = std::fs::read_to_string(folder.path().join("iesp.1")).expect("a page");
    for section in ["NAME", "SYNOPSIS", "OPTIONS", "EXAMPLES", "EXIT STATUS", "FILES"] {
        let there = page.contains(&format!(
            ".SH {section}
"
        )) || page.contains(&format!(
            ".SH \"{section}\"
"
        ));
        assert!(there, "{section}");
    }
    assert!(!page.contains("pages"), "what is hidden stays so");
}

#[test]
fn bash_completes_flags_and_values() {
    let folder = folder();
    assert!(command(&["pages"]).arg(folder.path()).status().expect("it runs").success());
    let complete = |words: &str| {
        let script = format!(
            "source iesp.bash; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _iesp iesp \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"; echo \"${{COMPREPLY[@]}}\""
        );
        let output = Command::new("bash").args(["-c", &script]).current_dir(folder.path()).output().expect("bash");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    assert_eq!(complete("iesp --chap-s"), "--chap-secret-file");
    assert_eq!(complete("iesp -b n"), "nbd");
}

#[test]
fn a_folder_that_is_not_there() {
    let output = command(&["pages", "/nowhere/at/all"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere/at/all"));
}
