//! Brings the program onto the board.

use anyhow::{Context, Result};

use super::profile::{Flash, Tool};

/// The commands that do it, one after the other. `serial` is the board's port.
///
/// # Errors
/// When the profile lacks something that the tool needs.
pub fn commands(flash: &Flash, serial: Option<&str>) -> Result<Vec<Vec<String>>> {
    let image = flash.image.display().to_string();
    let chip = || flash.chip.clone().context("[flash] names no chip");
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    Ok(match flash.tool {
        // -f: a board that runs is asked to go into BOOTSEL mode; -x starts what was loaded.
        Tool::Picotool => vec![words(&["picotool", "load", "-v", "-x", "-f", &image])],
        Tool::Espflash => {
            let mut command = words(&["espflash", "flash", "--non-interactive", "--chip", &chip()?]);
            command.extend(serial.iter().flat_map(|port| ["--port".to_owned(), (*port).to_owned()]));
            command.push(image);
            vec![command]
        }
        // -s: a board that runs is rebooted into its loader.
        Tool::TeensyLoaderCli => {
            vec![words(&["teensy_loader_cli", &format!("--mcu={}", chip()?), "-w", "-s", "-v", &image])]
        }
        Tool::ProbeRs => {
            let chip = chip()?;
            vec![
                words(&["probe-rs", "download", "--chip", &chip, "--verify", &image]),
                words(&["probe-rs", "reset", "--chip", &chip]),
            ]
        }
        Tool::Command => vec![flash.command.clone()],
    })
}

/// Where a tool comes from, for whom it is missing.
pub fn source(program: &str) -> &'static str {
    match program {
        "picotool" => "https://github.com/raspberrypi/picotool",
        "espflash" => "`cargo install espflash --locked`",
        "teensy_loader_cli" => "Debian: teensy-loader-cli",
        "probe-rs" => "https://probe.rs",
        _ => "it is named in the board's profile",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flash(tool: Tool, chip: Option<&str>) -> Flash {
        Flash { tool, image: "x.hex".into(), chip: chip.map(str::to_owned), command: vec!["cp".to_owned()] }
    }

    #[test]
    fn each_tool_has_its_words() {
        let line = |tool, chip| {
            let commands = commands(&flash(tool, chip), Some("/dev/ttyUSB0")).unwrap();
            commands.iter().map(|words| words.join(" ")).collect::<Vec<_>>().join("; ")
        };
        assert_eq!(line(Tool::Picotool, None), "picotool load -v -x -f x.hex");
        assert_eq!(
            line(Tool::Espflash, Some("esp32")),
            "espflash flash --non-interactive --chip esp32 --port /dev/ttyUSB0 x.hex"
        );
        assert_eq!(line(Tool::TeensyLoaderCli, Some("TEENSY41")), "teensy_loader_cli --mcu=TEENSY41 -w -s -v x.hex");
        assert!(line(Tool::ProbeRs, Some("RP2040")).ends_with("; probe-rs reset --chip RP2040"));
        assert_eq!(line(Tool::Command, None), "cp");
        assert!(commands(&flash(Tool::ProbeRs, None), None).is_err());
    }
}
