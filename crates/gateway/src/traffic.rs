//! Invented lab traffic: patients that do not exist are admitted, get results and are discharged.
//!
//! The same seed and start give the same bytes. Names are made of word lists, identifiers begin with `DEMO`,
//! and phone numbers are from the range that is reserved for fiction, so nothing can be taken for a real person.

use std::fmt::Write as _;

use jiff::{Timestamp, ToSpan, tz::TimeZone};

const GIVEN: [&str; 16] = [
    "Amaryllis",
    "Bertrand",
    "Cosima",
    "Desmond",
    "Eulalia",
    "Ferris",
    "Guinevere",
    "Horatio",
    "Isolde",
    "Jasper",
    "Kestrel",
    "Leopold",
    "Marigold",
    "Niamh",
    "Octavian",
    "Zoë",
];
const FAMILY: [&str; 16] = [
    "Ashgrove",
    "Brambleworth",
    "Cloudesley",
    "Dunmarsh",
    "Elderfield",
    "Fennimore",
    "Goldhawk",
    "Hollowbrook",
    "Inkpen",
    "Juniper-Vale",
    "Kingfisher",
    "Larkspur",
    "Müllerhof",
    "Nightingale",
    "O'Tarn",
    "Quillfeather",
];
const STREETS: [&str; 6] = [
    "Alder Row",
    "Beacon Hill",
    "Cooper Lane",
    "Dovecote Yard",
    "Easter Mews",
    "Ferry Steps",
];
const WARDS: [&str; 4] = ["3WEST", "4EAST", "ICU", "MED2"];

/// LOINC code, name, unit, low and high of the reference range, digits after the point.
type Analyte = (&'static str, &'static str, &'static str, f64, f64, usize);

/// One order: LOINC code and name of the panel, and what it measures.
const PANELS: [(&str, &str, &[Analyte]); 3] = [
    (
        "58410-2",
        "CBC panel - Blood by Automated count",
        &[
            (
                "6690-2",
                "Leukocytes [#/volume] in Blood by Automated count",
                "10*3/uL",
                4.5,
                11.0,
                1,
            ),
            (
                "789-8",
                "Erythrocytes [#/volume] in Blood by Automated count",
                "10*6/uL",
                4.1,
                5.7,
                2,
            ),
            (
                "718-7",
                "Hemoglobin [Mass/volume] in Blood",
                "g/dL",
                12.0,
                17.5,
                1,
            ),
            (
                "4544-3",
                "Hematocrit [Volume Fraction] of Blood by Automated count",
                "%",
                36.0,
                51.0,
                1,
            ),
            (
                "777-3",
                "Platelets [#/volume] in Blood by Automated count",
                "10*3/uL",
                150.0,
                400.0,
                0,
            ),
        ],
    ),
    (
        "51990-0",
        "Basic metabolic panel - Blood",
        &[
            (
                "2951-2",
                "Sodium [Moles/volume] in Serum or Plasma",
                "mmol/L",
                135.0,
                145.0,
                0,
            ),
            (
                "2823-3",
                "Potassium [Moles/volume] in Serum or Plasma",
                "mmol/L",
                3.5,
                5.1,
                1,
            ),
            (
                "2075-0",
                "Chloride [Moles/volume] in Serum or Plasma",
                "mmol/L",
                98.0,
                107.0,
                0,
            ),
            (
                "2160-0",
                "Creatinine [Mass/volume] in Serum or Plasma",
                "mg/dL",
                0.6,
                1.3,
                2,
            ),
            (
                "2345-7",
                "Glucose [Mass/volume] in Serum or Plasma",
                "mg/dL",
                70.0,
                99.0,
                0,
            ),
            (
                "17861-6",
                "Calcium [Mass/volume] in Serum or Plasma",
                "mg/dL",
                8.6,
                10.3,
                1,
            ),
        ],
    ),
    (
        "24331-1",
        "Lipid 1996 panel - Serum or Plasma",
        &[
            (
                "2093-3",
                "Cholesterol [Mass/volume] in Serum or Plasma",
                "mg/dL",
                100.0,
                199.0,
                0,
            ),
            (
                "2571-8",
                "Triglyceride [Mass/volume] in Serum or Plasma",
                "mg/dL",
                0.0,
                149.0,
                0,
            ),
            (
                "2085-9",
                "Cholesterol in HDL [Mass/volume] in Serum or Plasma",
                "mg/dL",
                40.0,
                90.0,
                0,
            ),
        ],
    ),
];

/// One invented patient.
struct Patient {
    mrn: u64,
    family: &'static str,
    given: &'static str,
    birth: String,
    female: bool,
    street: String,
    ward: Option<&'static str>,
    visit: u64,
}

/// A source of messages that never ends.
pub struct Traffic {
    random: Random,
    seed: u64,
    number: u64,
    now: Timestamp,
    patients: Vec<Patient>,
}

impl Traffic {
    /// Traffic that begins at `start`; `patients` people take part (at least one).
    pub fn new(seed: u64, start: Timestamp, patients: usize) -> Self {
        let mut random = Random(seed);
        let patients = (0..patients.max(1))
            .map(|index| Patient::invent(&mut random, seed, index))
            .collect();
        Self {
            random,
            seed,
            number: 0,
            now: start,
            patients,
        }
    }

    /// The next message, CR after each segment.
    pub fn next_message(&mut self) -> Vec<u8> {
        self.number += 1;
        self.now = self
            .now
            .checked_add(self.random.below(90).cast_signed().seconds())
            .unwrap_or(self.now);
        let index = usize::try_from(self.random.below(self.patients.len() as u64)).unwrap_or(0);
        let admitted = self
            .patients
            .get(index)
            .is_some_and(|patient| patient.ward.is_some());
        let text = match (admitted, self.random.below(10)) {
            (false, _) => self.admit(index),
            (true, 0) => self.movement(index, "A08"),
            (true, 1) => self.discharge(index),
            (true, _) => self.results(index),
        };
        text.into_bytes()
    }

    fn admit(&mut self, index: usize) -> String {
        let ward = self.random.pick(&WARDS);
        let visit = self.number;
        if let Some(patient) = self.patients.get_mut(index) {
            patient.ward = Some(ward);
            patient.visit = visit;
        }
        self.movement(index, "A01")
    }

    fn discharge(&mut self, index: usize) -> String {
        let text = self.movement(index, "A03");
        if let Some(patient) = self.patients.get_mut(index) {
            patient.ward = None;
        }
        text
    }

    fn movement(&mut self, index: usize, event: &str) -> String {
        let structure = if event == "A03" { "ADT_A03" } else { "ADT_A01" };
        let mut text = self.header("ADT", event, structure);
        let now = self.stamp();
        segment(&mut text, &format!("EVN|{event}|{now}"));
        if let Some(patient) = self.patients.get(index) {
            segment(&mut text, &patient.pid());
            segment(&mut text, &patient.pv1(&now, event == "A03"));
        }
        text
    }

    fn results(&mut self, index: usize) -> String {
        let (code, name, analytes) = self.random.pick(&PANELS);
        let mut text = self.header("ORU", "R01", "ORU_R01");
        let (now, number, seed) = (self.stamp(), self.number, self.seed);
        if let Some(patient) = self.patients.get(index) {
            segment(&mut text, &patient.pid());
            segment(&mut text, &patient.pv1(&now, false));
        }
        let order = format!("DEMO-O{seed}-{number}");
        segment(
            &mut text,
            &format!("ORC|RE|{order}|{order}F|||||||||9900001^Harkness^Imogen^^^Dr"),
        );
        segment(
            &mut text,
            &format!(
                "OBR|1|{order}|{order}F|{code}^{name}^LN|||{now}|||||||||9900001^Harkness^Imogen^^^Dr||||||{now}||LAB|F"
            ),
        );
        for (set, (code, name, unit, low, high, digits)) in analytes.iter().enumerate() {
            let spread = (high - low) * 1.4;
            let value = (low - spread * 0.14 + spread * self.random.unit()).max(0.0);
            let flag = if value < *low {
                "L"
            } else if value > *high {
                "H"
            } else {
                "N"
            };
            segment(
                &mut text,
                &format!(
                    "OBX|{}|NM|{code}^{name}^LN||{value:.digits$}|{unit}^{unit}^UCUM|{low:.digits$}-{high:.digits$}|{flag}|||F|||{now}",
                    set + 1
                ),
            );
        }
        text
    }

    fn header(&self, code: &str, event: &str, structure: &str) -> String {
        let mut text = String::with_capacity(2048);
        segment(
            &mut text,
            &format!(
                "MSH|^~\\&|DEMOLAB|DEMO HOSPITAL|FHIRWAY|DEMO|{}||{code}^{event}^{structure}|DEMO{}-{}|P|2.5.1||||||UNICODE UTF-8",
                self.stamp(),
                self.seed,
                self.number
            ),
        );
        text
    }

    fn stamp(&self) -> String {
        self.now
            .to_zoned(TimeZone::UTC)
            .strftime("%Y%m%d%H%M%S+0000")
            .to_string()
    }
}

impl Patient {
    fn invent(random: &mut Random, seed: u64, index: usize) -> Self {
        Self {
            mrn: (seed % 1000) * 1_000_000 + index as u64,
            family: random.pick(&FAMILY),
            given: random.pick(&GIVEN),
            birth: format!(
                "{}{:02}{:02}",
                1930 + random.below(90),
                1 + random.below(12),
                1 + random.below(28)
            ),
            female: random.below(2) == 0,
            street: format!("{} {}", 1 + random.below(200), random.pick(&STREETS)),
            ward: None,
            visit: 0,
        }
    }

    fn pid(&self) -> String {
        let Self {
            mrn,
            family,
            given,
            birth,
            street,
            ..
        } = self;
        let sex = if self.female { "F" } else { "M" };
        format!(
            "PID|1||DEMO{mrn:09}^^^DEMO HOSPITAL&2.999.1.1&ISO^MR||{family}^{given}||{birth}|{sex}|||{street}^^Larkhaven^^99999^XX^H||^PRN^PH^^^555^01{:02}",
            mrn % 100
        )
    }

    fn pv1(&self, now: &str, discharged: bool) -> String {
        let ward = self.ward.unwrap_or("AMB");
        let visit = format!("DEMO-V{}-{}", self.mrn, self.visit);
        let mut pv1 = format!(
            "PV1|1|I|{ward}^{:02}^1^DEMO HOSPITAL||||9900002^Fairweather^Linus^^^Dr|||MED||||||||I|{visit}^^^DEMO HOSPITAL&2.999.1.1&ISO^VN{}{now}",
            1 + self.mrn % 20,
            "|".repeat(25)
        );
        if discharged {
            let _ = write!(pv1, "|{now}");
        }
        pv1
    }
}

fn segment(text: &mut String, segment: &str) {
    text.push_str(segment);
    text.push('\r');
}

/// SplitMix64: small, seedable, and good enough to invent people.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    #[allow(clippy::cast_precision_loss)] // 53 bits are kept
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// One of `items` (an empty word for an empty list).
    fn pick<T: Copy + Default>(&mut self, items: &[T]) -> T {
        let index = usize::try_from(self.below(items.len() as u64)).unwrap_or(0);
        items.get(index).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(count: usize, seed: u64) -> Vec<Vec<u8>> {
        let mut traffic = Traffic::new(seed, Timestamp::UNIX_EPOCH, 5);
        (0..count).map(|_| traffic.next_message()).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        assert_eq!(first(50, 7), first(50, 7));
        assert_ne!(first(50, 7), first(50, 8));
    }

    #[test]
    fn messages_parse_without_issues_and_control_ids_are_unique() {
        let mut ids = std::collections::BTreeSet::new();
        let mut types = std::collections::BTreeSet::new();
        for bytes in first(200, 1) {
            let (message, issues) = hl7v2::parse(&bytes).unwrap();
            assert!(issues.is_empty(), "{issues:?}");
            assert!(ids.insert(message.header().control_id().into_owned()));
            types.insert(message.header().event().into_owned());
        }
        for event in ["A01", "A03", "A08", "R01"] {
            assert!(types.contains(event), "{event} was never sent");
        }
    }
}
