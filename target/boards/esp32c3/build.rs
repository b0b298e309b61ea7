//! Tells the linker where the memory map is: in `esp-hal`.

fn main() {
    println!("cargo::rustc-link-arg-bins=-Tlinkall.x");
}
