//! Sizes as people write them.

/// Bytes of `4096`, `4k`, `1M`, `2G`, `1T`; the letters stand for powers of 1024.
///
/// # Errors
/// A message that says what is allowed.
pub fn parse(text: &str) -> Result<u64, String> {
    let wrong = || format!("'{text}' is no size: write a number of bytes, or one with k, M, G or T, as in 10G");
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(wrong()),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let bytes = number.checked_mul(1 << shift).filter(|bytes| *bytes <= i64::MAX as u64);
    match bytes {
        Some(0) => Err("0 bytes are too few: give a size such as 10G".to_owned()),
        Some(bytes) => Ok(bytes),
        None => Err(format!("'{text}' is more than a file can hold")),
    }
}

/// What is wrong with a size that is not made of whole blocks.
pub fn no_multiple(bytes: u64, block_size: u32) -> String {
    let next = bytes.next_multiple_of(block_size.into());
    format!("this is no multiple of the block size of {block_size} bytes: give {next}, for example")
}

/// Bytes for people: with one decimal, in powers of 1024.
pub fn show(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["bytes", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "bytes" { format!("{bytes} bytes") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write() {
        for (text, bytes) in [("512", 512), ("4k", 4096), ("1M", 1 << 20), ("2G", 2 << 30), ("1TiB", 1 << 40)] {
            assert_eq!(parse(text), Ok(bytes));
        }
        for text in ["", "G", "1.5G", "-1", "1Q", "0", "99999999T", "1 G"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(show(1 << 30), "1.0 GiB");
        assert_eq!(show(512), "512 bytes");
    }
}
