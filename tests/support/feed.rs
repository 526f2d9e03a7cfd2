//! A feed of messages about a few patients, and the check that what arrived is what was sent, in order.

use std::collections::{BTreeMap, BTreeSet};

use super::{FhirServer, Gateway, message_of};

/// Messages that were sent and acknowledged.
#[derive(Default)]
pub struct Feed {
    next: usize,
    patient_of: BTreeMap<String, String>,
    sent: Vec<String>,
}

impl Feed {
    /// Sends more messages over one connection; each must be acknowledged positively, whatever the FHIR server does.
    pub async fn send(&mut self, gateway: &Gateway, count: usize) {
        let mut client = gateway.connect().await;
        for _ in 0..count {
            let (control_id, patient, text) = message_of(self.next, 6);
            self.next += 1;
            client.send(text).await;
            self.patient_of.insert(control_id.clone(), patient);
            self.sent.push(control_id);
        }
    }

    /// How many were sent.
    pub fn len(&self) -> usize {
        self.sent.len()
    }

    /// Control ids in the order of sending.
    pub fn sent(&self) -> &[String] {
        &self.sent
    }

    /// The patient of a message.
    pub fn patient(&self, control_id: &str) -> &str {
        &self.patient_of[control_id]
    }

    /// Everything is stored at the server, in order per patient, and never two requests about one patient at once.
    #[track_caller]
    pub fn arrived(&self, server: &FhirServer) {
        self.arrived_except(server, &BTreeSet::new());
    }

    /// The same for all but some.
    #[track_caller]
    pub fn arrived_except(&self, server: &FhirServer, missing: &BTreeSet<String>) {
        let mut seen = BTreeSet::new();
        let arrived: Vec<String> = server
            .effects()
            .into_iter()
            .filter(|control_id| seen.insert(control_id.clone()))
            .collect();
        let sent = self.sent.iter().filter(|sent| !missing.contains(*sent));
        assert_eq!(
            self.by_patient(arrived.iter()),
            self.by_patient(sent),
            "not what was sent, or not in order"
        );
        assert_eq!(server.overlaps(), Vec::<String>::new());
    }

    fn by_patient<'a>(
        &self,
        control_ids: impl Iterator<Item = &'a String>,
    ) -> BTreeMap<String, Vec<String>> {
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for control_id in control_ids {
            let patient = self.patient(control_id).to_owned();
            found.entry(patient).or_default().push(control_id.clone());
        }
        found
    }
}
