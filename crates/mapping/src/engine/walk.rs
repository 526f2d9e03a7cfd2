//! The walk through a message: group by group, segment by segment, in message order.

use hl7v2::Segment;
use hl7v2::structure::{GroupId, Item};

use super::access::Here;
use super::eval::Contents;
use super::{Binding, ConvertError, Frame, Run};
use crate::plan::{Bind, BoundId, Entry, Group, Link, LinkSource, Makes, MessageMap, Set};
use crate::report::{ReportCode, ReportIssue};

/// Name of the map for messages that no other map names.
const ANY: &str = "any";

impl<'r> Run<'r> {
    pub(crate) fn message(&mut self) -> Result<(), ConvertError> {
        let (plan, groups) = (self.plan, self.groups);
        let structure = groups.structure();
        let map = match plan.messages.get(structure) {
            Some(map) => map,
            None => {
                self.state.report.fallback = true;
                plan.messages.get(ANY).ok_or_else(|| ConvertError::NoMap {
                    structure: structure.to_owned(),
                })?
            }
        };
        self.state.report.message_map.push_str(&map.name);
        self.state.frames.push(Frame::default());
        if map.flat {
            self.flat(map);
        } else {
            self.group(map, groups.root(), Some(&map.root), &mut Vec::new());
        }
        for link in &map.links {
            self.link(link);
        }
        self.unmapped();
        Ok(())
    }

    fn flat(&mut self, map: &'r MessageMap) {
        for index in 0..self.message.segment_count() {
            let Some(segment) = self.message.segment(index) else {
                continue;
            };
            let group = self.groups.group_of(index);
            self.entries(map, numbers(&map.root, segment), segment, group);
        }
    }

    fn group(
        &mut self,
        map: &'r MessageMap,
        id: GroupId,
        group: Option<&'r Group>,
        outer: &mut Vec<&'r Group>,
    ) {
        let groups = self.groups;
        if let Some(group) = group {
            outer.push(group);
        }
        for item in groups.items(id) {
            match item {
                Item::Group(inner) => {
                    let name = groups.name(*inner);
                    let inner_map = group
                        .and_then(|group| group.groups.iter().find(|inner| inner.name == name));
                    if let Some(inner_map) = inner_map {
                        self.open_frame(inner_map.id);
                    }
                    self.group(map, *inner, inner_map, outer);
                    if let Some(inner_map) = inner_map {
                        self.close_frame(inner_map.id);
                    }
                }
                Item::Segment { index, placed } => {
                    let Some(segment) = self.message.segment(*index) else {
                        continue;
                    };
                    self.place_segment(map, id, segment, *placed, group, outer);
                }
            }
        }
        if group.is_some() {
            outer.pop();
        }
    }

    fn place_segment(
        &mut self,
        map: &'r MessageMap,
        id: GroupId,
        segment: Segment<'r>,
        placed: bool,
        group: Option<&'r Group>,
        outer: &[&'r Group],
    ) {
        let own = group.map_or(&[][..], |group| numbers(group, segment));
        let found = if !own.is_empty() || placed {
            own
        } else {
            let nearest = outer
                .iter()
                .rev()
                .map(|group| numbers(group, segment))
                .find(|numbers| !numbers.is_empty());
            let found = nearest
                .or_else(|| anywhere(&map.root, segment))
                .unwrap_or_default();
            if !found.is_empty() {
                self.state.report.issues.push(ReportIssue {
                    code: ReportCode::MisplacedSegment,
                    place: Some(segment.place()),
                    rule: self.package.rule(0),
                    element: "",
                });
            }
            found
        };
        self.entries(map, found, segment, id);
    }

    /// The lines of the message map with those numbers, for one segment.
    fn entries(
        &mut self,
        map: &'r MessageMap,
        numbers: &[usize],
        segment: Segment<'r>,
        group: GroupId,
    ) {
        if numbers.is_empty() {
            return;
        }
        let here = Here::new(segment, group);
        for number in numbers {
            if let Some(entry) = map.entries.get(*number) {
                self.entry(entry, &here);
            }
        }
    }

    /// One line of the message map, for one segment.
    fn entry(&mut self, entry: &'r Entry, here: &Here<'r>) {
        if self.state.trace.is_some() {
            self.entry_traced(entry, here);
        } else {
            self.apply_entry(entry, here);
        }
    }

    pub(crate) fn apply_entry(&mut self, entry: &'r Entry, here: &Here<'r>) {
        let (plan, segment) = (self.plan, here.segment);
        let Some(map) = plan.maps.get(entry.map) else {
            return;
        };
        if entry
            .after
            .is_some_and(|after| self.anchor(segment, &entry.anchors) != Some(after))
            || !self.step(entry.origin)
        {
            return;
        }
        if !self.condition_holds(entry.when.as_ref(), here)
            || !self.condition_holds(map.when.as_ref(), here)
        {
            return;
        }
        let Makes::Resource(type_name) = &map.makes else {
            return;
        };
        let resource = match entry.bind {
            Bind::Into(name) => match self.bound(name) {
                Some(resource) => {
                    self.add_map(resource, entry.map, here);
                    self.contributed(name, resource, segment);
                    Some(resource)
                }
                None => {
                    let rule = self.package.rule(entry.origin);
                    self.state.report.issues.push(ReportIssue {
                        code: ReportCode::NoTarget,
                        place: Some(segment.place()),
                        rule,
                        element: "",
                    });
                    None
                }
            },
            Bind::As(name) => match self.continued(name, segment) {
                Some(resource) => {
                    self.add_map(resource, entry.map, here);
                    self.contributed(name, resource, segment);
                    Some(resource)
                }
                None => {
                    let made = self.make(entry, type_name, here);
                    if let Some(resource) = made {
                        self.bind(name, resource, segment);
                    }
                    made
                }
            },
            Bind::Nothing => self.make(entry, type_name, here),
        };
        let Some(resource) = resource else { return };
        if let Bind::As(name) = entry.bind {
            for called in &entry.called {
                self.name_resource(name, called, resource, here);
            }
        }
        if let Some(when) = &entry.when {
            self.take_condition(when, here);
        }
        self.note_ignored(&map.ignore, here);
        for set in &entry.set {
            self.set(set, resource, here);
        }
    }

    fn make(&mut self, entry: &'r Entry, type_name: &'static str, here: &Here<'r>) -> Option<u32> {
        let plan = self.plan;
        let map = plan.maps.get(entry.map)?;
        let contents = Contents {
            fields: &map.fields,
            set: &[],
        };
        self.resource(
            type_name,
            entry.key.as_ref().or(map.key.as_ref()),
            entry.write.unwrap_or(map.write),
            contents,
            here,
            map.origin,
        )
    }

    fn set(&mut self, set: &'r Set, resource: u32, here: &Here<'r>) {
        let target = match set.target {
            Some(name) => self.bound(name),
            None => Some(resource),
        };
        let node = target
            .and_then(|target| self.state.made.get(target as usize))
            .map(|made| made.node);
        if let Some(node) = node {
            self.fields(node, &set.fields, here);
        }
    }

    /// The nearest earlier segment among the anchors.
    pub(crate) fn anchor(&mut self, segment: Segment<'r>, anchors: &[[u8; 3]]) -> Option<[u8; 3]> {
        // What was found for the segment before it holds for this one, unless that one is an anchor itself.
        let before = segment.index().checked_sub(1)?;
        let id = self.message.segment(before)?.id();
        if anchors.contains(&id) {
            self.state.anchor = Some((segment.index(), id));
            return Some(id);
        }
        if let Some((index, found)) = self.state.anchor
            && index <= segment.index()
            && anchors.contains(&found)
            && !self.anchor_between(index, before, anchors)
        {
            self.state.anchor = Some((segment.index(), found));
            return Some(found);
        }
        let found = (0..before).rev().find_map(|index| {
            let id = self.message.segment(index)?.id();
            anchors.contains(&id).then_some(id)
        })?;
        self.state.anchor = Some((segment.index(), found));
        Some(found)
    }

    fn anchor_between(&self, from: usize, to: usize, anchors: &[[u8; 3]]) -> bool {
        (from..to)
            .filter_map(|index| self.message.segment(index))
            .any(|segment| anchors.contains(&segment.id()))
    }

    // === names ===

    /// The resource of a name, the innermost and latest first.
    pub(crate) fn bound(&self, name: BoundId) -> Option<u32> {
        self.state
            .frames
            .iter()
            .rev()
            .find_map(|frame| {
                frame
                    .bindings
                    .iter()
                    .rev()
                    .find(|binding| binding.name == name)
            })
            .map(|binding| binding.resource)
    }

    /// The resource of a name in this occurrence of the group, if this segment can still add to it.
    fn continued(&self, name: BoundId, segment: Segment<'r>) -> Option<u32> {
        let frame = self.state.frames.last()?;
        let binding = frame
            .bindings
            .iter()
            .rev()
            .find(|binding| binding.name == name)?;
        let own = segment.id();
        let free = std::iter::once(&binding.by)
            .chain(&binding.from)
            .all(|(from, index)| *from != own || *index == segment.index());
        free.then_some(binding.resource)
    }

    fn bind(&mut self, name: BoundId, resource: u32, segment: Segment<'r>) {
        self.state.bound.push((name, resource));
        let by = (segment.id(), segment.index());
        if let Some(frame) = self.state.frames.last_mut() {
            frame.bindings.push(Binding {
                name,
                resource,
                by,
                from: Vec::new(),
                group: 0,
            });
        }
    }

    fn contributed(&mut self, name: BoundId, resource: u32, segment: Segment<'r>) {
        let from = (segment.id(), segment.index());
        let bindings = self
            .state
            .frames
            .iter_mut()
            .flat_map(|frame| frame.bindings.iter_mut());
        for binding in
            bindings.filter(|binding| binding.name == name && binding.resource == resource)
        {
            binding.from.push(from);
        }
    }

    fn open_frame(&mut self, group: u32) {
        // A new occurrence starts without what an earlier one named.
        if let Some(frame) = self.state.frames.last_mut() {
            frame.bindings.retain(|binding| binding.group != group);
        }
        let frame = self.state.spare_frames.pop().unwrap_or_default();
        self.state.frames.push(frame);
    }

    /// What a group named stays visible to its later siblings.
    fn close_frame(&mut self, group: u32) {
        let Some(mut closed) = self.state.frames.pop() else {
            return;
        };
        if let Some(frame) = self.state.frames.last_mut() {
            let named = closed.bindings.drain(..);
            frame
                .bindings
                .extend(named.map(|binding| Binding { group, ..binding }));
        }
        self.state.spare_frames.push(closed);
    }

    // === link ===

    fn link(&mut self, link: &'r Link) {
        let targets: Vec<u32> = self.named(link.target).collect();
        for target in targets {
            let mut sources: Vec<u32> = Vec::new();
            for source in &link.sources {
                match source {
                    LinkSource::First(name) => sources.extend(self.named(*name).next()),
                    LinkSource::Each(name) => sources.extend(self.named(*name)),
                    LinkSource::Everything => {
                        let of = self.type_name(target);
                        let others = (0u32..).zip(&self.state.made).filter(|(number, made)| {
                            *number != target && Some(made.type_name) != of
                        });
                        sources.extend(others.map(|(number, _)| number));
                    }
                }
            }
            sources.retain(|source| {
                *source != target
                    && (link.targets.is_empty()
                        || self
                            .type_name(*source)
                            .is_some_and(|name| link.targets.iter().any(|target| target == name)))
            });
            sources.dedup();
            if !self.step(link.origin) || !self.steps(sources.len()) {
                return;
            }
            self.put_links(link, target, &sources);
        }
    }

    fn put_links(&mut self, link: &'r Link, target: u32, sources: &[u32]) {
        let (Some(node), Some(key)) = (
            self.state.made.get(target as usize).map(|made| made.node),
            link.path.first().copied(),
        ) else {
            return;
        };
        let tree = &mut self.state.tree;
        let there = tree.get(node, key.name);
        match (link.array, sources) {
            (_, []) => {}
            (true, sources) => {
                let list = there.unwrap_or_else(|| tree.add_array(node, key));
                for source in sources {
                    let made = tree.push_reference(list, *source);
                    tree.set_origin(made, link.origin);
                }
            }
            (false, [first, ..]) if there.is_none() => {
                let made = tree.add_reference(node, key, *first);
                tree.set_origin(made, link.origin);
            }
            (false, _) => {}
        }
    }

    fn named(&self, name: BoundId) -> impl Iterator<Item = u32> {
        let mut seen: Vec<u32> = Vec::new();
        for (_, resource) in self.state.bound.iter().filter(|(bound, _)| *bound == name) {
            if !seen.contains(resource) {
                seen.push(*resource);
            }
        }
        seen.into_iter()
    }

    fn type_name(&self, resource: u32) -> Option<&'static str> {
        self.state
            .made
            .get(resource as usize)
            .map(|made| made.type_name)
    }
}

fn numbers<'p>(group: &'p Group, segment: Segment<'_>) -> &'p [usize] {
    let name = segment.id();
    group
        .entries
        .iter()
        .find(|(of, _)| *of == name)
        .map_or(&[], |(_, numbers)| numbers)
}

/// The first group of the map that names the segment.
fn anywhere<'p>(group: &'p Group, segment: Segment<'_>) -> Option<&'p [usize]> {
    let own = numbers(group, segment);
    if own.is_empty() {
        group
            .groups
            .iter()
            .find_map(|inner| anywhere(inner, segment))
    } else {
        Some(own)
    }
}
