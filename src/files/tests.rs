//! Files as they come: every format, every compression, and rows that are none.

use super::*;
use std::io::Write;
use tempfile::TempDir;

const ROW_BYTES_MAX: usize = 1000;

struct Files(TempDir);

impl Files {
    fn new() -> Files {
        Files(tempfile::tempdir().expect("a directory for the test"))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).expect("the test writes its file");
        path.to_str().expect("the path is UTF-8").to_owned()
    }
}

/// Every row as text, or the reason why it is none.
fn read(path: &str) -> Result<Vec<(u64, String)>, FileError> {
    read_as(path, None)
}

fn read_as(path: &str, format: Option<FileFormat>) -> Result<Vec<(u64, String)>, FileError> {
    let mut file = InputFile::open(path, format, ROW_BYTES_MAX)?;
    let mut rows = Vec::new();
    while let Some(row) = file.next_row()? {
        let content = match row.content {
            Ok(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Err(rejection) => format!("{}: {}", rejection.reason.name(), rejection.detail),
        };
        rows.push((row.number, content));
    }
    Ok(rows)
}

fn rows_of(name: &str, bytes: &[u8]) -> Vec<(u64, String)> {
    let files = Files::new();
    read(&files.write(name, bytes)).expect("the file can be read")
}

fn contents_of(name: &str, bytes: &[u8]) -> Vec<String> {
    rows_of(name, bytes).into_iter().map(|(_, content)| content).collect()
}

#[test]
fn the_name_tells_the_format() {
    for (name, format) in [
        ("a.ndjson", Some(FileFormat::Ndjson)),
        ("a.jsonl.gz", Some(FileFormat::Ndjson)),
        ("a.JSON.bz2", Some(FileFormat::Ndjson)),
        ("dir.csv/a.tsv.zst", Some(FileFormat::Tsv)),
        ("a.csv", Some(FileFormat::Csv)),
        ("a.txt", None),
        ("a.log.gz", None),
        ("dir.csv/a", None),
        ("a.gz", None),
        ("-", None),
        ("csv", None),
    ] {
        assert_eq!(FileFormat::of_name(name), format, "{name}");
    }
    let error = InputFile::open("calls.txt", None, ROW_BYTES_MAX).err().expect("no format is known");
    assert!(error.to_string().contains("calls.txt") && error.to_string().contains("--input-format"), "{error}");
    let error = InputFile::open("/no/such/calls.csv", None, ROW_BYTES_MAX).err().expect("there is no file");
    assert!(matches!(&error, FileError::Open { file, .. } if file == "/no/such/calls.csv"), "{error}");
    let directory = tempfile::tempdir().expect("a directory for the test");
    let path = directory.path().to_str().expect("the path is UTF-8");
    assert!(matches!(InputFile::open(path, Some(FileFormat::Csv), 1), Err(FileError::Open { .. })));
}

#[test]
fn ndjson_rows_are_lines() {
    let bytes = b"\xef\xbb\xbf{\"a\":1}\r\n\n  \n[2]\nnot json\n{\"last\":true}";
    let expected = [(1, "{\"a\":1}"), (4, "[2]"), (5, "not json"), (6, "{\"last\":true}")];
    assert_eq!(rows_of("a.ndjson", bytes), expected.map(|(number, row)| (number, row.to_owned())));
    assert!(rows_of("a.ndjson", b"").is_empty());
    assert!(rows_of("a.ndjson", b"\n\n").is_empty());
}

#[test]
fn lines_are_wrapped() {
    let files = Files::new();
    let path = files.write("access.log", b"say \"hi\"\t\xc3\xa4\r\n\n\xff\nlast");
    let rows = read_as(&path, Some(FileFormat::Lines)).unwrap();
    let expected = [
        r#"{"line":"say \"hi\"\tä"}"#,
        r#"{"line":""}"#,
        "not_utf8: the row is not UTF-8 from byte 0",
        r#"{"line":"last"}"#,
    ];
    assert_eq!(rows.iter().map(|(_, row)| row.as_str()).collect::<Vec<_>>(), expected);
    assert_eq!(rows.last().map(|(number, _)| *number), Some(4));
}

#[test]
fn csv_rows_are_objects_of_strings() {
    let csv = "\u{feff}a,,a,_extra,a_2,column_2\r\n1,2,3,4,5,6\n\n\"x,\"\"y\"\"\",\"two\r\nlines\",\"\"\n1,2,3,4,5,6,7,8\nlast";
    assert_eq!(
        contents_of("a.csv", csv.as_bytes()),
        [
            r#"{"a":"1","column_2":"2","a_2":"3","_extra_2":"4","a_2_2":"5","column_2_2":"6"}"#,
            r#"{"a":"x,\"y\"","column_2":"two\r\nlines","a_2":""}"#,
            r#"{"a":"1","column_2":"2","a_2":"3","_extra_2":"4","a_2_2":"5","column_2_2":"6","_extra":["7","8"]}"#,
            r#"{"a":"last"}"#,
        ]
    );
    assert!(contents_of("a.csv", b"").is_empty());
    assert!(contents_of("a.csv", b"only,a,header\n").is_empty());
    assert_eq!(contents_of("a.csv", b"a,b\n,\n"), [r#"{"a":"","b":""}"#]);
    // A quote within an unquoted field is itself.
    assert_eq!(contents_of("a.csv", b"a,b\n5\" pipe,x\ry\n"), [r#"{"a":"5\" pipe","b":"x\ry"}"#]);
}

#[test]
fn a_broken_csv_row_is_one_row() {
    let csv = b"a,b\n1,\"x\"y\"\n2,ok\n\xff,3\n4,ok\n\"open,\nto the end\n";
    let expected = [
        (1, "not_json: not a CSV row: text follows a closing quote"),
        (2, r#"{"a":"2","b":"ok"}"#),
        (3, "not_utf8: the row is not UTF-8 from byte 0"),
        (4, r#"{"a":"4","b":"ok"}"#),
        (5, "not_json: not a CSV row: a quote is opened and never closed"),
    ];
    assert_eq!(rows_of("a.csv", csv), expected.map(|(number, row)| (number, row.to_owned())));

    let files = Files::new();
    let error = read(&files.write("a.csv", b"\"a")).expect_err("there are no columns");
    assert!(matches!(&error, FileError::Header { .. }), "{error}");
}

#[test]
fn tsv_has_no_quoting() {
    assert_eq!(
        contents_of("a.tsv", b"a\tb\r\n\"x\"\t1,2\r\n\"open\tz\tmore\n\t\n"),
        [r#"{"a":"\"x\"","b":"1,2"}"#, r#"{"a":"\"open","b":"z","_extra":["more"]}"#, r#"{"a":"","b":""}"#]
    );
}

#[test]
fn a_row_over_the_limit_is_rejected_and_the_next_one_is_read() {
    let long = "x".repeat(ROW_BYTES_MAX + 1);
    let at_limit = "y".repeat(ROW_BYTES_MAX);
    let huge = "z".repeat(1_000_000);
    let ndjson = format!("{long}\n{at_limit}\r\n{huge}\n{at_limit}");
    let rows = contents_of("a.ndjson", ndjson.as_bytes());
    assert_eq!(rows[0], "too_large: the row has 1001 bytes, more than record_bytes_max = 1000");
    assert_eq!(rows[1], at_limit);
    assert!(rows[2].starts_with("too_large"), "{}", &rows[2][..60]);
    assert_eq!(rows[3], at_limit);

    let half = "x".repeat(ROW_BYTES_MAX / 2);
    let csv = format!("a\n\"{half}\n{half}\n{half}\"\n1\n{long}\n2\n");
    let rows = contents_of("a.csv", csv.as_bytes());
    assert_eq!(rows[0], "too_large: the row has more than 1000 bytes");
    assert_eq!(rows[1], r#"{"a":"1"}"#);
    assert!(rows[2].starts_with("too_large"));
    assert_eq!(rows[3], r#"{"a":"2"}"#);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("into memory");
    encoder.finish().expect("into memory")
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ::bzip2::write::BzEncoder::new(Vec::new(), ::bzip2::Compression::fast());
    encoder.write_all(bytes).expect("into memory");
    encoder.finish().expect("into memory")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ::zstd::encode_all(bytes, 1).expect("into memory")
}

#[test]
fn compressed_files_may_hold_several_streams() {
    let first: String = (0..50_000).map(|number| format!("{{\"n\":{number}}}\n")).collect();
    for (ending, compress) in [("gz", gzip as fn(&[u8]) -> Vec<u8>), ("bz2", bzip2), ("zst", zstd)] {
        let mut bytes = compress(first.as_bytes());
        bytes.extend(compress(b"{\"n\":"));
        bytes.extend(compress(b"50000}\n"));
        let files = Files::new();
        let path = files.write(&format!("a.ndjson.{ending}"), &bytes);
        let mut file = InputFile::open(&path, None, ROW_BYTES_MAX).unwrap();
        let mut rows = 0;
        while let Some(row) = file.next_row().unwrap() {
            assert_eq!(row.content, Ok(format!("{{\"n\":{rows}}}").as_bytes()), "{ending}");
            rows += 1;
        }
        assert_eq!(rows, 50_001, "{ending}");
        assert_eq!(Some(file.bytes_consumed()), file.bytes_total(), "{ending}");
    }
}

#[test]
fn a_damaged_file_is_an_error_with_name_and_place() {
    // Text that does not compress to nothing, so that the cut lies behind whole rows.
    let text: String =
        (0_u64..50_000).map(|number| format!("{}\n", number.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    for (ending, compress) in [("gz", gzip as fn(&[u8]) -> Vec<u8>), ("bz2", bzip2), ("zst", zstd)] {
        let files = Files::new();
        let mut bytes = compress(text.as_bytes());
        bytes.truncate(bytes.len() - 10);
        let path = files.write(&format!("a.ndjson.{ending}"), &bytes);
        match read(&path).expect_err("the end is missing") {
            FileError::Read { file, bytes, .. } => assert!(file == path && bytes > 0, "{ending}"),
            other => panic!("{ending}: {other}"),
        }
        let path = files.write(&format!("b.ndjson.{ending}"), b"{\"this\":\"is not compressed\"}\n");
        assert!(matches!(read(&path), Err(FileError::Read { rows: 0, .. })), "{ending}");
    }
}

#[test]
fn rows_do_not_depend_on_where_buffers_end() {
    let mut csv = String::from("n,text\n");
    for number in 0..30_000 {
        csv.push_str(&format!("{number},\"a \"\"b\"\"\nc{}\"\r\n", "x".repeat(number % 40)));
    }
    let rows = contents_of("a.csv", csv.as_bytes());
    assert_eq!(rows.len(), 30_000);
    for (number, row) in rows.iter().enumerate() {
        let expected = format!("{{\"n\":\"{number}\",\"text\":\"a \\\"b\\\"\\nc{}\"}}", "x".repeat(number % 40));
        assert_eq!(*row, expected);
    }
}
