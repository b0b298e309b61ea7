//! The C compiler compares every declaration of this crate with the installed headers.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use libiscsi_sys::{CONSTANTS, FUNCTIONS, LAYOUTS};

#[test]
fn declarations_agree_with_the_headers() {
    let source = c_source();
    let result = compile(&source);
    assert!(result.is_ok(), "{}\n--- the C file ---\n{source}", result.unwrap_err());
}

/// The check itself is checked: it fails for one wrong prototype, offset or value.
#[test]
fn a_wrong_declaration_is_found() {
    let good = c_source();
    for (right, wrong) in [
        ("int(struct iscsi_context *, int)", "int(struct iscsi_context *, long)"),
        ("offsetof(struct scsi_task, cdb) == 16", "offsetof(struct scsi_task, cdb) == 20"),
        ("SCSI_STATUS_BUSY == 8", "SCSI_STATUS_BUSY == 9"),
    ] {
        assert!(good.contains(right), "nothing to break: {right}");
        assert!(compile(&good.replacen(right, wrong, 1)).is_err(), "not found: {wrong}");
    }
}

fn c_source() -> String {
    let mut c = String::from("#include <stddef.h>\n#include <iscsi/iscsi.h>\n#include <iscsi/scsi-lowlevel.h>\n");
    for layout in LAYOUTS {
        let tag = layout.name;
        writeln!(c, "_Static_assert(sizeof(struct {tag}) == {}, \"size of {tag}\");", layout.size).unwrap();
        writeln!(c, "_Static_assert(_Alignof(struct {tag}) == {}, \"alignment of {tag}\");", layout.align).unwrap();
        // A field that begins with an underscore stands for bit fields, which have no offset in C.
        for (field, offset, size) in layout.fields.iter().filter(|(name, ..)| !name.starts_with('_')) {
            writeln!(c, "_Static_assert(offsetof(struct {tag}, {field}) == {offset}, \"{tag}.{field}\");").unwrap();
            writeln!(c, "_Static_assert(sizeof(((struct {tag} *)0)->{field}) == {size}, \"{tag}.{field}\");").unwrap();
        }
    }
    for constant in CONSTANTS {
        writeln!(c, "_Static_assert({0} == {1}, \"{0}\");", constant.name, constant.value).unwrap();
    }
    for function in FUNCTIONS {
        let parameters: Vec<&str> = function.parameters.iter().map(|ty| c_type(ty)).collect();
        let prototype = format!("{}({})", c_type(function.returns), parameters.join(", "));
        writeln!(
            c,
            "_Static_assert(__builtin_types_compatible_p(__typeof__({0}), {prototype}), \"{0}\");",
            function.name
        )
        .unwrap();
    }
    c
}

/// Rust's spelling of a type to C's.
fn c_type(rust: &str) -> &'static str {
    match rust {
        "" => "void",
        "c_int" => "int",
        "u32" => "uint32_t",
        "*const c_char" => "const char *",
        "*mut c_uchar" => "unsigned char *",
        "*mut c_void" => "void *",
        "*mut iscsi_context" => "struct iscsi_context *",
        "*mut iscsi_url" => "struct iscsi_url *",
        "*mut iscsi_data" => "struct iscsi_data *",
        "*mut scsi_task" => "struct scsi_task *",
        "*mut scsi_iovec" => "struct scsi_iovec *",
        "iscsi_command_cb" => "iscsi_command_cb",
        "iscsi_session_type" => "enum iscsi_session_type",
        "iscsi_header_digest" => "enum iscsi_header_digest",
        "iscsi_immediate_data" => "enum iscsi_immediate_data",
        "iscsi_initial_r2t" => "enum iscsi_initial_r2t",
        "iscsi_task_mgmt_funcs" => "enum iscsi_task_mgmt_funcs",
        other => panic!("no C type is known for {other}"),
    }
}

fn compile(source: &str) -> Result<(), String> {
    let flags = Command::new("pkg-config").args(["--cflags", "libiscsi"]).output().expect("pkg-config runs");
    let flags = String::from_utf8(flags.stdout).expect("flags are text");
    let mut compiler = Command::new("cc")
        .args(["-x", "c", "-fsyntax-only", "-Werror", "-"])
        .args(flags.split_whitespace())
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a C compiler is installed (Rust links with it)");
    compiler.stdin.take().expect("piped").write_all(source.as_bytes()).expect("the compiler reads its input");
    let output = compiler.wait_with_output().expect("the compiler ends");
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}
