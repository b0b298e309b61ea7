//! A file and its backend, without initiators.

use super::*;

const OPTIONS: OpenOptions =
    OpenOptions { read_only: false, block_size: 512, direct: false, unmap: true, unmap_zeros: false, exclusive: true };

fn image(len: u64) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.as_file().set_len(len).expect("a size");
    file
}

fn backends() -> [FileBackend; 2] {
    let image = image(1 << 20);
    [
        FileBackend::open(image.path(), &OPTIONS).expect("it opens"),
        FileBackend::memory(1 << 20, &OPTIONS).expect("memory"),
    ]
}

#[test]
fn what_is_written_is_read_and_what_is_unmapped_is_a_hole() {
    for backend in backends() {
        let data = [0x5a; 8192];
        assert_eq!(backend.write(65536, &data, true, Patience::Any), Ok(Served::Done(())));
        let mut read = [0; 8192];
        assert_eq!(backend.read(65536, &mut read, Patience::Any), Ok(Served::Done(())));
        assert_eq!(read, data);
        assert_eq!(backend.extent(65536, 8192, Patience::Any), Ok(Served::Done((true, 8192))));
        assert_eq!(backend.unmap(65536, 8192, Patience::Any), Ok(Served::Done(())));
        assert_eq!(backend.read(65536, &mut read, Patience::Any), Ok(Served::Done(())));
        assert_eq!(read, [0; 8192]);
        assert_eq!(backend.extent(65536, 8192, Patience::Any), Ok(Served::Done((false, 8192))));
    }
}

#[test]
fn zeros_without_unmap_take_space() {
    for backend in backends() {
        assert_eq!(backend.zero(4096, 4096, false, Patience::Any), Ok(Served::Done(())));
        let mut read = [1; 4096];
        assert_eq!(backend.read(4096, &mut read, Patience::Any), Ok(Served::Done(())));
        assert_eq!(read, [0; 4096]);
    }
}

#[test]
fn trim_level_2_turns_zeros_into_holes() {
    let options = OpenOptions { unmap_zeros: true, ..OPTIONS };
    let backend = FileBackend::memory(1 << 20, &options).expect("memory");
    assert_eq!(backend.write(0, &[1; 4096], false, Patience::None), Ok(Served::Done(())));
    assert_eq!(backend.extent(0, 4096, Patience::None), Ok(Served::Done((true, 4096))));
    assert_eq!(backend.write(0, &[0; 4096], false, Patience::None), Ok(Served::Done(())));
    assert_eq!(backend.extent(0, 4096, Patience::None), Ok(Served::Done((false, 4096))));
}

#[test]
fn a_file_cut_under_us_is_a_medium_error() {
    let image = image(1 << 20);
    let backend = FileBackend::open(image.path(), &OPTIONS).expect("it opens");
    image.as_file().set_len(0).expect("cut");
    assert_eq!(backend.read(0, &mut [0; 512], Patience::Any), Err(IoError::MediumAt(0)));
}

#[test]
fn refusals() {
    let open = |path: &Path| FileBackend::open(path, &OPTIONS);
    let folder = tempfile::tempdir().expect("a folder");
    assert!(matches!(open(folder.path()), Err(OpenError::Directory)));
    assert!(matches!(open(&folder.path().join("none")), Err(OpenError::Missing)));
    assert!(matches!(open(Path::new("/dev/null")), Err(OpenError::Special)));
    assert!(matches!(open(image(0).path()), Err(OpenError::Empty)));
    let odd = image(1000);
    let message = open(odd.path()).expect_err("not whole blocks").to_string();
    assert!(message.contains("1024"), "{message}");
    let image = image(4096);
    let first = open(image.path()).expect("it opens");
    assert!(matches!(open(image.path()), Err(OpenError::Locked)));
    drop(first);
    assert!(open(image.path()).is_ok());
}
