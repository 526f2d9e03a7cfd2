//! The engine: walks a message by its groups and applies the plan.
//!
//! All memory is kept from message to message: one tree, one list of entries, one bit per leaf of the message.

mod access;
mod code;
mod ends;
mod eval;
pub(crate) mod helpers;
mod identity;
pub(crate) mod kept;
pub(crate) mod memo;
mod merge;
mod moment;
mod slot;
mod span;
mod text;
pub(crate) mod trace;
mod unmapped;
mod walk;
pub(crate) mod why;

pub(crate) use access::has_form;
pub(crate) use code::known_codes;

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use fhir::bundle::{BundleError, BundleOptions, Entry};
use fhir::tree::{NodeId, Tree};
use hl7v2::Message;
use hl7v2::structure::GroupTree;
use uuid::Uuid;

use crate::context::{Context, MAX_DEPTH};
use crate::package::Package;
use crate::plan::{BoundId, Identity, OriginId, Plan, Policy, WriteMode};
use crate::report::{CodeMiss, Report, ReportCode, ReportIssue};

/// How many rules are applied between two looks at the deadline.
const ROUND: u32 = 4096;

/// Why a message has no Bundle.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ConvertError {
    /// No message map names the message's structure, and the package has no `any`.
    #[error("no message map for structure {structure}, and the package has no messages/any.yaml")]
    NoMap {
        /// MSH-9.3, or what was derived for it.
        structure: String,
    },
    /// A table with `miss: fail` does not list a code.
    #[error("a code at {place} is not in table {table}, which must list all ({rule})")]
    CodeMiss {
        /// The table.
        table: String,
        /// Where the code stands.
        place: String,
        /// The rule, as `file:line`.
        rule: String,
    },
    /// The message makes more than a message may.
    #[error("the message needs more than {limit} ({rule})")]
    Limit {
        /// Which limit.
        limit: String,
        /// The rule that met it, as `file:line`.
        rule: String,
    },
    /// The resources make no sound Bundle.
    #[error("the resources make no bundle: {0}")]
    Bundle(#[from] BundleError),
}

/// What a package wants to happen with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Send it.
    Deliver,
    /// A person should look first: a table with `miss: park` does not list a code.
    Park,
}

/// Converts messages, one after another.
pub struct Converter {
    package: Arc<Package>,
    state: State,
}

/// What one message became.
pub struct Conversion<'c> {
    state: &'c State,
}

/// A resource being made.
pub(crate) struct Made {
    pub node: NodeId,
    pub type_name: &'static str,
    pub uuid: Uuid,
    pub write: WriteMode,
    pub condition: Option<(Cow<'static, str>, String)>,
}

/// Resource names in one occurrence of a group.
#[derive(Default)]
pub(crate) struct Frame {
    pub bindings: Vec<Binding>,
}

pub(crate) struct Binding {
    pub name: BoundId,
    pub resource: u32,
    /// The segment that made it,
    pub by: ([u8; 3], usize),
    /// and those that have added to it since.
    pub from: Vec<([u8; 3], usize)>,
    /// The group of the plan that made it, when that is a closed child.
    pub group: u32,
}

#[derive(Default)]
pub(crate) struct State {
    pub tree: Tree,
    pub made: Vec<Made>,
    pub by_identity: HashMap<Uuid, u32, Spread>,
    /// What `called:` names resources by, across groups.
    pub called: HashMap<(BoundId, Uuid), u32>,
    /// Resources whose elements are being made, outermost first.
    pub under_way: Vec<Uuid>,
    pub repeats: HashMap<Uuid, u32, Spread>,
    pub frames: Vec<Frame>,
    /// Memory of closed frames.
    pub spare_frames: Vec<Frame>,
    pub bound: Vec<(BoundId, u32)>,
    pub taken: Vec<u64>,
    /// What maps left out on purpose; another map may take it nevertheless.
    pub ignored: Vec<unmapped::Ignored>,
    pub report: Report,
    pub policies: Vec<String>,
    /// Which of [`Plan::switches`] are on.
    pub switches: Vec<bool>,
    /// The policies of the context that the two are set by.
    set_by: Option<BTreeMap<String, String>>,
    /// Memory of [`Run::answers`].
    answers: Vec<Cell<(usize, u8)>>,
    /// How many segments the messages had so far.
    segments: usize,
    pub sender: String,
    /// The text that the id being made is made from.
    pub key: String,
    /// The text that a template is being made into.
    pub scratch: String,
    pub moments: moment::Known,
    pub steps: u32,
    /// The rule that is being applied, to be named when a limit is met.
    pub at: OriginId,
    pub anonymous: u32,
    /// The last answer about `after`: before which segment, and which anchor.
    pub anchor: Option<(usize, [u8; 3])>,
    pub failed: Option<ConvertError>,
    pub parked: bool,
    pub memo: memo::Memo,
    pub kept: kept::Kept,
    /// Kept from message to message: it depends on the package only.
    pub known: memo::Known,
    /// Notes for `explain`; nobody else has one.
    pub trace: Option<Box<trace::Trace>>,
}

/// Hashes ids by themselves: they are hashes already.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spread(u64);

impl BuildHasher for Spread {
    type Hasher = Spread;
    fn build_hasher(&self) -> Spread {
        Spread(0)
    }
}

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.write_u64(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let word = rest
                .iter()
                .rev()
                .fold(0, |word, byte| word << 8 | u64::from(*byte));
            self.write_u64(word);
        }
    }
    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }
    fn write_u8(&mut self, byte: u8) {
        self.write_u64(u64::from(byte));
    }
}

/// One message on its way.
pub(crate) struct Run<'r> {
    pub package: &'r Package,
    pub plan: &'r Plan,
    pub message: &'r Message<'r>,
    pub context: &'r Context,
    pub groups: &'r GroupTree,
    pub state: &'r mut State,
    pub cache: RefCell<[access::Lookup; access::CACHE]>,
    pub climbed: RefCell<[access::Climbed<'r>; access::CACHE]>,
    /// For each of [`Plan::probes`] the segment that last asked, and which text it found.
    pub answers: Vec<Cell<(usize, u8)>>,
    /// The number there of the message's first segment.
    pub first_segment: usize,
    /// The message as text, when nothing in it needs to be unescaped or decoded.
    pub plain: Option<&'r str>,
    /// Whether a `""` stands anywhere in it.
    pub has_nulls: bool,
    /// The last reference range that was taken apart.
    pub ranged: RefCell<(&'r str, text::Range<'r>)>,
    /// How many maps and objects the engine is in.
    pub depth: u8,
    /// Resources whose `called:` nobody has asked for yet: the name, its key, the resource, and where it was named.
    pub unnamed: Vec<(BoundId, &'r Identity, u32, access::Here<'r>)>,
    /// Namespaces and universal ids of the message, each with its identifier system.
    pub authorities: Vec<(&'r str, &'r str, Cow<'r, str>)>,
    /// How many codes were translated by answers of a terminology server, which may be others for the next message.
    pub translated: Cell<usize>,
}

impl Converter {
    pub(crate) fn new(package: Arc<Package>) -> Converter {
        Converter {
            package,
            state: State::default(),
        }
    }

    /// The package it works with.
    pub fn package(&self) -> &Arc<Package> {
        &self.package
    }

    /// What the last message became; nothing of it when it could not be converted.
    pub fn last(&self) -> Conversion<'_> {
        Conversion { state: &self.state }
    }

    /// Codes of the last message that its tables did not list, also when it could not be converted for that.
    pub fn code_misses(&self) -> &[CodeMiss] {
        &self.state.report.code_misses
    }

    /// Converts one message. The result borrows the converter's memory: write it before the next one.
    ///
    /// # Errors
    /// When no map fits, a strict table misses a code, or a limit is met; the message is then for a person to look at.
    pub fn convert(
        &mut self,
        message: &Message<'_>,
        context: &Context,
    ) -> Result<Conversion<'_>, ConvertError> {
        self.convert_telling_groups(message, context)?;
        Ok(Conversion { state: &self.state })
    }

    fn convert_telling_groups(
        &mut self,
        message: &Message<'_>,
        context: &Context,
    ) -> Result<GroupTree, ConvertError> {
        let (groups, issues) = hl7v2::structure::group(message);
        self.convert_grouped(message, &groups, context)?;
        // In a structure that nobody knows no place is the wrong one; that it is unknown is told.
        let unknown = issues
            .iter()
            .any(|issue| issue.code == hl7v2::IssueCode::StructureUnknown);
        let misplaced = issues
            .iter()
            .filter(|issue| !unknown && issue.code == hl7v2::IssueCode::SegmentMisplaced);
        for issue in misplaced {
            self.state.note_misplaced(issue.place, &self.package);
        }
        Ok(groups)
    }

    /// As [`Converter::convert`], and notes for `explain` what every rule did.
    ///
    /// # Errors
    /// As [`Converter::convert`].
    pub(crate) fn convert_traced(
        &mut self,
        message: &Message<'_>,
        context: &Context,
    ) -> Result<(Conversion<'_>, GroupTree, Box<trace::Trace>), ConvertError> {
        self.state.trace = Some(Box::default());
        let groups = self.convert_telling_groups(message, context);
        let trace = self.state.trace.take().unwrap_or_default();
        Ok((Conversion { state: &self.state }, groups?, trace))
    }

    /// As [`Converter::convert`], for a message that is grouped already.
    ///
    /// # Errors
    /// As [`Converter::convert`].
    pub fn convert_grouped(
        &mut self,
        message: &Message<'_>,
        groups: &GroupTree,
        context: &Context,
    ) -> Result<Conversion<'_>, ConvertError> {
        self.state.clear(message, &self.package.plan, context);
        let mut answers = std::mem::take(&mut self.state.answers);
        // Segments are numbered through all messages, so that what was answered for earlier ones need not be cleared.
        let first_segment = self.state.segments;
        self.state.segments = first_segment.wrapping_add(message.segment_count());
        answers.resize(self.package.plan.probes.len(), Cell::new((usize::MAX, 0)));
        let mut run = Run {
            package: &self.package,
            plan: &self.package.plan,
            message,
            context,
            groups,
            state: &mut self.state,
            cache: RefCell::new([(None, [0; 3], None); access::CACHE]),
            climbed: RefCell::new([(None, [0; 3], "", None); access::CACHE]),
            answers,
            first_segment,
            plain: message.plain_text(),
            has_nulls: message.has_nulls(),
            ranged: RefCell::new(("", (None, None))),
            depth: 0,
            unnamed: Vec::new(),
            authorities: Vec::new(),
            translated: Cell::new(0),
        };
        let done = run.message();
        self.state.answers = run.answers;
        done?;
        if let Some(error) = self.state.failed.take() {
            return Err(error);
        }
        Ok(Conversion { state: &self.state })
    }
}

impl Conversion<'_> {
    /// Appends the Bundle to `out`.
    ///
    /// # Errors
    /// When two entries are the same resource; a package can only reach that with a condition it sets itself.
    pub fn write_bundle(
        &self,
        options: &BundleOptions<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), ConvertError> {
        let entries = self.entries();
        fhir::bundle::write(&self.state.tree, &entries, options, out)?;
        Ok(())
    }

    /// The resources, in the order in which the message made them.
    pub fn entries(&self) -> Vec<Entry<'_>> {
        self.state
            .made
            .iter()
            .map(|made| Entry {
                resource: made.node,
                type_name: made.type_name,
                uuid: made.uuid,
                write: made.write.to_fhir(),
                condition: made
                    .condition
                    .as_ref()
                    .map(|(system, value)| (&**system, value.as_str())),
            })
            .collect()
    }

    pub(crate) fn made(&self) -> &[Made] {
        &self.state.made
    }

    /// The tree that holds them.
    pub fn tree(&self) -> &Tree {
        &self.state.tree
    }

    /// What there is to say beside the Bundle.
    pub fn report(&self) -> &Report {
        &self.state.report
    }

    /// How many resources there are.
    pub fn resource_count(&self) -> usize {
        self.state.made.len()
    }

    /// Whether a person should look before it is sent.
    pub fn disposition(&self) -> Disposition {
        if self.state.parked {
            Disposition::Park
        } else {
            Disposition::Deliver
        }
    }
}

impl State {
    /// A segment out of order was mapped nevertheless; told once.
    fn note_misplaced(&mut self, place: Option<hl7v2::Place>, package: &Package) {
        let known = |issue: &ReportIssue| {
            issue.code == ReportCode::MisplacedSegment && issue.place == place
        };
        if !self.report.issues.iter().any(known) {
            self.report.issues.push(ReportIssue {
                code: ReportCode::MisplacedSegment,
                place,
                rule: package.rule(0),
                element: "",
            });
        }
    }

    fn set_policies(&mut self, plan: &Plan, context: &Context) {
        let set = |policy: &Policy| {
            let value = context.policies.get(&policy.name);
            value.unwrap_or(&policy.default).clone()
        };
        self.policies = plan.policies.iter().map(set).collect();
        let is_on = |(policy, value): &(usize, String)| self.policies.get(*policy) == Some(value);
        self.switches = plan.switches.iter().map(is_on).collect();
        self.set_by = Some(context.policies.clone());
        self.kept.clear();
    }

    fn clear(&mut self, message: &Message<'_>, plan: &Plan, context: &Context) {
        self.tree.clear();
        self.made.clear();
        self.by_identity.clear();
        self.under_way.clear();
        self.called.clear();
        self.repeats.clear();
        self.frames.clear();
        self.bound.clear();
        self.taken.clear();
        self.ignored.clear();
        self.taken.resize(message.leaf_count().div_ceil(64), 0);
        self.report.clear();
        if self.set_by.as_ref() != Some(&context.policies) {
            self.set_policies(plan, context);
        }
        self.sender.clear();
        if context.sender.is_empty() {
            self.sender
                .push_str(message.header().sending_facility().text().trim());
        } else {
            self.sender.push_str(&context.sender);
        }
        self.steps = 0;
        self.at = 0;
        self.anonymous = 0;
        self.anchor = None;
        self.failed = None;
        self.parked = false;
        self.memo.clear();
        self.keep_for(context.base(), context.zone.as_ref(), message.delimiters());
        self.moments.clear();
    }
}

impl Run<'_> {
    /// Counts a rule; `false` when the message has had enough.
    #[inline]
    pub(crate) fn step(&mut self, origin: OriginId) -> bool {
        self.state.steps = self.state.steps.saturating_add(1);
        self.state.at = origin;
        let limits = &self.context.limits;
        let goes_on = self.state.failed.is_none()
            && self.state.steps <= limits.steps
            && self.state.tree.node_count() <= limits.elements
            && self.state.tree.text_bytes() <= limits.bytes
            && self.state.steps & (ROUND - 1) != 0;
        goes_on || self.look_closer()
    }

    #[cold]
    #[inline(never)]
    fn look_closer(&mut self) -> bool {
        if self.state.failed.is_some() {
            return false;
        }
        let limits = &self.context.limits;
        if self.state.steps > limits.steps
            || self.state.tree.node_count() > limits.elements
            || self.state.tree.text_bytes() > limits.bytes
        {
            return self.too_much();
        }
        if self.context.deadline.passed() {
            self.limit("the time a message may take".to_owned());
            return false;
        }
        true
    }

    /// Counts `more` rounds of something that a rule does often; `false` as for [`Run::step`].
    pub(crate) fn steps(&mut self, more: usize) -> bool {
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        self.state.steps = self.state.steps.saturating_add(more);
        self.state.failed.is_none()
            && (self.state.steps <= self.context.limits.steps || self.too_much())
    }

    /// Whether a text of so many bytes may be made.
    pub(crate) fn may_hold(&mut self, bytes: usize) -> bool {
        let limit = self.context.limits.bytes;
        if bytes > limit {
            self.limit(format!("{} bytes of text", grouped(limit)));
        }
        bytes <= limit
    }

    /// Says which limit was met; `false`.
    #[cold]
    fn too_much(&mut self) -> bool {
        let limits = self.context.limits;
        let limit = if self.state.steps > limits.steps {
            format!("{} rules", grouped(limits.steps as usize))
        } else if self.state.tree.node_count() > limits.elements {
            format!("{} elements", grouped(limits.elements))
        } else {
            format!("{} bytes of text", grouped(limits.bytes))
        };
        self.limit(limit);
        false
    }

    /// The message is given up at the rule that is being applied.
    #[cold]
    fn limit(&mut self, limit: String) {
        if self.state.failed.is_none() {
            self.state.failed = Some(ConvertError::Limit {
                limit,
                rule: self.package.rule(self.state.at).to_string(),
            });
        }
    }

    pub(crate) fn too_deep(&mut self, origin: OriginId) -> bool {
        let most = self.context.limits.depth.min(MAX_DEPTH);
        if self.depth <= most {
            return false;
        }
        self.state.at = origin;
        self.limit(format!("{most} maps inside each other"));
        true
    }
}

/// `5,000,000`
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
