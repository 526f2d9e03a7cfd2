//! What it costs to index a message, beside the least it can cost and other crates.
//!
//! All data is invented. `cargo bench -p benches --bench parse`
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fmt::Write as _;

use benches::{Figure, Race};
use hl7v2::{Index, ParseOptions, Path};
use nom::bytes::complete::{take, take_while};
use nom::{IResult, Parser};

const MESSAGES: usize = 64;

fn main() {
    for (title, observations) in [("ORU of 2 kB", 14), ("ORU of 10 kB", 95)] {
        let messages: Vec<Vec<u8>> = (0..MESSAGES).map(|seed| oru(seed, observations)).collect();
        let figures = race(title, &messages);
        let index = ratio(&figures, "full index");
        let peers = ["hl7-parser 0.3", "rust-hl7 0.5"];
        let better = peers.map(|name| ratio(&figures, name));
        let better = better.into_iter().fold(f64::INFINITY, f64::min);
        println!(
            "  full index: {index:.2} of a token pass (at most 2), {:.1} times faster than the better crate (at least 10)",
            better / index
        );
    }
}

fn ratio(figures: &[Figure], name: &str) -> f64 {
    let figure = figures.iter().find(|figure| figure.name == name);
    figure.unwrap().ratio
}

fn race(title: &str, messages: &[Vec<u8>]) -> Vec<Figure> {
    let bytes = messages.iter().map(Vec::len).sum::<usize>() / messages.len();
    let texts: Vec<&str> = messages
        .iter()
        .map(|message| std::str::from_utf8(message).unwrap())
        .collect();
    // Every run takes the next message, so that none is learnt by heart.
    let cycle = || messages.iter().cycle();
    let (mut bare, mut full, mut with_paths, mut fresh) = (cycle(), cycle(), cycle(), cycle());
    let (mut first_peer, mut second_peer) = (texts.iter().cycle(), texts.iter().cycle());
    let table = class_table();
    let mut tokens = Vec::new();
    let mut index = Index::new();
    let mut index_for_paths = Index::new();
    let options = ParseOptions::default();
    let paths = paths();
    Race::new(title, 1, bytes)
        .candidate("bare nom token pass", move || {
            tokens.clear();
            tokens_only(&table, bare.next().unwrap(), &mut tokens);
            tokens.len()
        })
        .candidate("full index", move || {
            let reused = std::mem::take(&mut index);
            let (message, _) = hl7v2::parse_with(full.next().unwrap(), &options, reused).unwrap();
            let leaves = message.leaf_count();
            index = message.into_index();
            leaves
        })
        .candidate("full index, 150 paths", move || {
            let reused = std::mem::take(&mut index_for_paths);
            let bytes = with_paths.next().unwrap();
            let (message, _) = hl7v2::parse_with(bytes, &options, reused).unwrap();
            let found = paths.iter().filter_map(|path| message.get(path));
            let length = found.map(|node| node.text().len()).sum();
            index_for_paths = message.into_index();
            length
        })
        .candidate("full index, new arena", move || {
            let (message, _) = hl7v2::parse(fresh.next().unwrap()).unwrap();
            message.leaf_count()
        })
        .candidate("hl7-parser 0.3", move || {
            let message = hl7_parser::parse_message(first_peer.next().unwrap()).unwrap();
            message.segments().count()
        })
        .candidate("rust-hl7 0.5", move || {
            let text = *second_peer.next().unwrap();
            let message = rusthl7::message::Message::try_from(text).unwrap();
            message.segments.len()
        })
        .run()
}

/// The same walk as the parser's, which only notes where each token ends.
fn tokens_only(table: &[u8; 256], input: &[u8], tokens: &mut Vec<(u32, u8)>) {
    let mut rest = input;
    while !rest.is_empty() {
        let (after, class) = token(table, rest).unwrap();
        tokens.push(((input.len() - after.len()) as u32, class));
        rest = after;
    }
}

fn token<'a>(table: &[u8; 256], input: &'a [u8]) -> IResult<&'a [u8], u8, ()> {
    let (rest, _) = take_while(|byte: u8| table[usize::from(byte)] == 0).parse(input)?;
    let (rest, delimiter) = take(1_usize).parse(rest)?;
    Ok((rest, table[usize::from(delimiter[0])]))
}

fn class_table() -> [u8; 256] {
    let mut table = [0; 256];
    for (class, byte) in (1..).zip(b"&^~|\r") {
        table[usize::from(*byte)] = class;
    }
    table
}

/// A laboratory report: two specimens' worth of invented results.
fn oru(seed: usize, observations: usize) -> Vec<u8> {
    let mut text = format!(
        "MSH|^~\\&|LAB{seed}^2.999.{seed}^ISO|NORTH CLINIC^2.999.7^ISO|EHR|SOUTH|20250314{:02}1530.1234+0100||ORU^R01^ORU_R01|MSG{seed:08}|P|2.5.1|||AL|NE||UNICODE UTF-8\r",
        seed % 24
    );
    let _ = write!(
        text,
        "PID|1||{:07}^^^NORTH&2.999.7&ISO^MR~{:03}-{:02}-{:04}^^^SSA^SS||Sample{seed}^Ida^Q^^Ms.^^L||198{}0203|F|||{seed} Invented Street^^Exampleton^EX^{:05}^XX^H||^PRN^PH^^1^555^{:07}\r",
        seed * 7919 % 9_999_999,
        seed % 900,
        seed % 90,
        seed * 31 % 9999,
        seed % 10,
        seed * 17 % 99_999,
        seed * 997 % 9_999_999
    );
    text.push_str("PV1|1|O|CLINIC^^^NORTH&2.999.7&ISO||||1234^Example^Otto^^^Dr.^^^NPI|||||||||||V77001^^^NORTH\r");
    let _ = write!(
        text,
        "ORC|RE|A{seed}^EHR|F{seed}^LAB||CM||||20250314080000|||1234^Example^Otto\rOBR|1|A{seed}^EHR|F{seed}^LAB|24323-8^Comprehensive panel^LN|||20250314074500+0100|||||||||1234^Example^Otto||||||20250314091500||LAB|F\r"
    );
    for number in 1..=observations {
        let value = seed * 13 + number * 7;
        let _ = write!(
            text,
            "OBX|{number}|NM|{}-{}^Invented analyte {number}^LN||{}.{}|mmol/L^millimole per liter^UCUM|3.5-5.1|{}|||F|||20250314084500\r",
            2000 + number,
            number % 10,
            value % 90,
            value % 10,
            if value.is_multiple_of(5) { "H" } else { "N" }
        );
    }
    text.push_str("NTE|1|L|Sample slightly haemolysed\\.br\\Repeat if clinically indicated\r");
    text.into_bytes()
}

/// What a mapping of such a message asks for, 150 times something.
fn paths() -> Vec<Path> {
    let once = [
        "MSH-3.1",
        "MSH-4.1",
        "MSH-7",
        "MSH-9.1",
        "MSH-9.2",
        "MSH-10",
        "PID-3.1",
        "PID-3.4.1",
        "PID-3(2).1",
        "PID-3(2).5",
        "PID-5.1",
        "PID-5.2",
        "PID-5.3",
        "PID-7",
        "PID-8",
        "PID-11.1",
        "PID-11.3",
        "PID-11.5",
        "PID-13.7",
        "PID-19",
        "PV1-2",
        "PV1-3.1",
        "PV1-7.1",
        "PV1-7.2",
        "PV1-19.1",
        "ORC-1",
        "ORC-2.1",
        "ORC-3.1",
        "OBR-4.1",
        "OBR-4.2",
        "OBR-7",
        "OBR-16.1",
        "OBR-22",
        "OBR-25",
        "NTE-3",
        "NK1-2.1",
        "AL1-3",
        "SPM-4.1",
    ];
    let each = ["2", "3.1", "3.2", "3.3", "5", "6.1", "8", "11"];
    let observations = (1..=14).flat_map(|n| each.map(|field| format!("OBX({n})-{field}")));
    let all = once.into_iter().map(String::from).chain(observations);
    let paths: Vec<Path> = all.map(|path| path.parse().unwrap()).collect();
    assert_eq!(paths.len(), 150);
    paths
}
