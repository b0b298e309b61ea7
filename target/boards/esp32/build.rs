//! Tells the linker, which is GCC, where the memory map is: in `esp-hal`.

fn main() {
    for argument in ["-nostartfiles", "-Wl,-Tlinkall.x"] {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
}
