//! The file with the users of version 3.

use std::path::Path;

use iesp_snmp::usm::{Account, Authentication, Privacy};

use crate::failure::Failure;

/// The users of a file: one a line, NAME AUTH PASSWORD [PRIVACY PASSWORD]; `#` begins a comment. A name or password with
/// spaces stands in quotation marks.
///
/// # Errors
/// Which line is wrong, and what to do. No password is shown.
pub fn read(file: &Path) -> Result<Vec<Account>, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::usage(format!("the SNMP users' file {} cannot be read: {error}", file.display())))?;
    let users = parse(&text).map_err(|(line, why)| {
        Failure::usage(format!("the SNMP users' file {}, line {line}: {why}", file.display()))
    })?;
    if users.is_empty() {
        let message = "it names no user: add a line NAME SHA-256 PASSWORD AES-128 PASSWORD";
        return Err(Failure::usage(format!("the SNMP users' file {}: {message}", file.display())));
    }
    Ok(users)
}

fn parse(text: &str) -> Result<Vec<Account>, (usize, String)> {
    let mut users: Vec<Account> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let at = |why: String| (number, why);
        let words = words(line).map_err(at)?;
        if words.is_empty() {
            continue;
        }
        let user = account(words).map_err(at)?;
        user.check().map_err(|unfit| at(unfit.to_string()))?;
        if users.iter().any(|other| other.name == user.name) {
            return Err(at(format!("user {} is there twice: remove one of the lines", user.name)));
        }
        users.push(user);
    }
    Ok(users)
}

fn account(words: Vec<String>) -> Result<Account, String> {
    let mut words = words.into_iter();
    let (Some(name), Some(authentication), Some(password)) = (words.next(), words.next(), words.next()) else {
        return Err("a user is written NAME AUTH PASSWORD, or NAME AUTH PASSWORD PRIVACY PASSWORD".to_owned());
    };
    let authentication = Authentication::from_name(&authentication)
        .ok_or("AUTH is SHA-1, SHA-224, SHA-256, SHA-384 or SHA-512 (MD5 is too weak, and not offered)")?;
    let privacy = match (words.next(), words.next(), words.next()) {
        (None, ..) => None,
        (Some(privacy), Some(password), None) => {
            let privacy = Privacy::from_name(&privacy)
                .ok_or("PRIVACY is AES-128, AES-192 or AES-256 (DES is too weak, and not offered)")?;
            Some((privacy, password))
        }
        (Some(_), None, _) => return Err("a password for privacy is missing behind the protocol".to_owned()),
        (Some(_), Some(_), Some(_)) => {
            return Err(
                "there is more than NAME AUTH PASSWORD PRIVACY PASSWORD: put what has spaces in \"…\"".to_owned()
            );
        }
    };
    Ok(Account { name, authentication, password, privacy })
}

/// Words, as a shell would see them: "…" holds a word together, and \ takes the next letter as it is.
fn words(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '\\' => {
                let next = letters.next().ok_or("the line ends behind a \\")?;
                word.get_or_insert_default().push(next);
            }
            '#' if !quoted && word.is_none() => break,
            space if space.is_whitespace() && !quoted => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    if quoted {
        return Err("a quotation mark is not closed".to_owned());
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_as_they_are_written() {
        let users = parse(
            "# who may look\n\nanna SHA-256 12345678 AES-128 abcdefgh  # both\n\"bert b\" sha \"with \\\"a\\\" space\"\n",
        );
        let expected = [
            Account {
                name: "anna".into(),
                authentication: Authentication::Sha256,
                password: "12345678".into(),
                privacy: Some((Privacy::Aes128, "abcdefgh".into())),
            },
            Account {
                name: "bert b".into(),
                authentication: Authentication::Sha1,
                password: "with \"a\" space".into(),
                privacy: None,
            },
        ];
        assert_eq!(users, Ok(expected.into()));
    }

    #[test]
    fn faulty_lines_say_what_to_do_and_show_no_password() {
        for (text, line, part) in [
            ("anna", 1, "NAME AUTH PASSWORD"),
            ("\nanna MD5 secretpassword", 2, "SHA-256"),
            ("anna SHA secretpassword DES secretpassword", 1, "AES-128"),
            ("anna SHA secretpassword AES", 1, "missing"),
            ("anna SHA secretpassword AES secretpassword more", 1, "more than"),
            ("anna SHA short", 1, "8 characters"),
            ("a SHA secretpassword\na SHA secretpassword", 2, "twice"),
            ("anna SHA \"secretpassword", 1, "not closed"),
            ("anna SHA secretpassword\\", 1, "\\"),
        ] {
            let (at, why) = parse(text).expect_err(text);
            assert_eq!(at, line, "{text}");
            assert!(why.contains(part) && !why.contains("secretpassword"), "{why}");
        }
    }
}
