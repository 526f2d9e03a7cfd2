//! What a path means where it stands.

use super::{Compiler, v2};
use crate::diagnostic::{Code, Diagnostic};
use crate::plan::{Access, Condition, Root, TableId, Template};
use crate::syntax::path::PathText;
use crate::syntax::{SyntaxError, condition, path, template};
use crate::yaml::Node;

/// Where a rule stands: the segment being mapped, if one is known, and the value being mapped.
#[derive(Clone, Default)]
pub(crate) struct Scope {
    pub segment: Option<[u8; 3]>,
    pub current: Option<Current>,
}

/// The value being mapped.
#[derive(Clone, Default)]
pub(crate) struct Current {
    /// The field it is a repetition of, so that `PID-13.2` inside `each: PID-13` is the same repetition.
    pub field: Option<([u8; 3], u16)>,
    /// Tells it apart from other values: its place in [`Compiler::values`].
    pub number: u32,
    /// The data types it may be of; empty when that is not known.
    pub types: Vec<&'static str>,
}

/// A path with its meaning, and the v2 data type of what it names.
pub(crate) struct Resolved {
    pub access: Access,
    pub data_type: Option<String>,
    /// The data types of all versions; empty when that is not known.
    pub types: Vec<&'static str>,
    pub field: Option<([u8; 3], u16)>,
}

impl Scope {
    /// The number of the value being mapped; 0 for none.
    pub fn value(&self) -> u32 {
        self.current.as_ref().map_or(0, |current| current.number)
    }
}

pub(crate) fn resolve(scope: &Scope, text: &PathText) -> Result<Resolved, SyntaxError> {
    let unknown = |message: String, help: Option<String>| {
        let mut error = SyntaxError::new(Code::UnknownPath, 0, message);
        error.help = help;
        error
    };
    let access = |root: Root, field: u16| Access {
        root,
        field,
        repetition: text.repetition,
        component: text.component,
        subcomponent: text.subcomponent,
    };
    if !text.segment {
        let Some(current) = &scope.current else {
            return Err(unknown(
                format!(
                    "`{}` is a component of a value, and no value is being mapped here",
                    text.name
                ),
                Some(format!(
                    "name the field, such as `PID-3.{}`, or put the rule under `each:` or `from:`",
                    text.component.max(1)
                )),
            ));
        };
        if !v2::is_data_type(&text.name) {
            return Err(unknown(
                format!("`{}` is no v2 data type", text.name),
                v2::nearest_data_type(&text.name),
            ));
        }
        let data_type = part_type(
            Some(text.name.clone()),
            text.component,
            text.subcomponent,
            &|message, help| unknown(message, help),
        )?;
        if let Some(actual) = current.types.first()
            && !current.types.iter().any(|one| v2::alike(one, &text.name))
        {
            let mut error = SyntaxError::new(
                Code::WrongDataType,
                0,
                format!("the value is of type {actual}, not {}", text.name),
            );
            let tail = text.tail();
            error.help = Some(format!("write `{actual}{tail}`, or name the field"));
            return Err(error);
        }
        let types = v2::known_type(&text.name)
            .map(|name| v2::parts(vec![name], text.component, text.subcomponent))
            .unwrap_or_default();
        let field = current.field.filter(|_| text.component == 0);
        return Ok(Resolved {
            access: access(Root::Current, 0),
            data_type,
            types,
            field,
        });
    }
    let name = <[u8; 3]>::try_from(text.name.as_bytes()).unwrap_or(*b"???");
    let field_type = match v2::field(&text.name, text.field) {
        v2::Field::Known(data_type) => data_type,
        v2::Field::Unknown(near) => {
            return Err(unknown(
                format!("there is no segment `{}` in HL7 v2", text.name),
                near,
            ));
        }
        v2::Field::Beyond(count) => {
            return Err(unknown(
                format!("{} has no field {}", text.name, text.field),
                Some(format!(
                    "{} has {count} fields in the newest version",
                    text.name
                )),
            ));
        }
    };
    let data_type = part_type(
        field_type,
        text.component,
        text.subcomponent,
        &|message, help| unknown(message, help),
    )?;
    let field = (text.component == 0).then_some((name, text.field));
    let same = scope.current.as_ref().and_then(|current| current.field) == Some((name, text.field))
        && text.repetition == 0;
    let access = if same {
        access(Root::Current, 0)
    } else {
        access(Root::Segment(name), text.field)
    };
    Ok(Resolved {
        access,
        data_type,
        types: v2::types(&text.name, text.field, text.component, text.subcomponent),
        field,
    })
}

/// The type of a component or subcomponent.
fn part_type(
    whole: Option<String>,
    component: u16,
    subcomponent: u16,
    unknown: &dyn Fn(String, Option<String>) -> SyntaxError,
) -> Result<Option<String>, SyntaxError> {
    let mut data_type = whole;
    for number in [component, subcomponent]
        .into_iter()
        .take_while(|number| *number > 0)
    {
        let Some(name) = data_type.take() else {
            return Ok(None);
        };
        data_type = match v2::component(&name, number) {
            Ok(component) => component,
            Err(count) => {
                return Err(unknown(
                    format!("{name} has no component {number}"),
                    Some(if count <= 1 {
                        format!("{name} has no components")
                    } else {
                        format!("{name} has {count} components")
                    }),
                ));
            }
        };
    }
    Ok(data_type)
}

struct Resolver<'c> {
    compiler: &'c mut Compiler,
    scope: &'c Scope,
    node: &'c Node,
}

impl condition::Resolver for Resolver<'_> {
    fn whole_field(&mut self, text: &str, at: usize) -> Result<Access, SyntaxError> {
        let outer = Scope {
            segment: self.scope.segment,
            current: self.scope.current.as_ref().map(|_| Current::default()),
        };
        let mut resolver = Resolver {
            compiler: self.compiler,
            scope: &outer,
            node: self.node,
        };
        resolver.path(text, at)
    }

    fn path(&mut self, text: &str, at: usize) -> Result<Access, SyntaxError> {
        let place = |mut error: SyntaxError| {
            error.at += at;
            error
        };
        let parsed = path::parse(text).map_err(place)?;
        let resolved = resolve(self.scope, &parsed).map_err(place)?;
        self.compiler.note_path(&parsed, self.scope, self.node, at);
        Ok(resolved.access)
    }

    fn compared(&mut self, access: Access, value: &str, at: usize) {
        let found = self.compiler.never_has(access, value, self.scope);
        if let Some((message, help)) = found {
            let length = value.chars().count();
            let finding =
                Diagnostic::warning(Code::NoSuchValue, self.node.span, message).help(help);
            self.compiler
                .diagnostics
                .push(finding.part_of(self.node, at, length));
        }
    }

    fn policy(
        &mut self,
        name: &str,
        value: Option<&str>,
        at: usize,
    ) -> Result<Condition, SyntaxError> {
        let Some((id, policy)) = self
            .compiler
            .plan
            .policies
            .iter()
            .enumerate()
            .find(|(_, policy)| policy.name == name)
        else {
            let near = crate::diagnostic::closest(
                name,
                self.compiler
                    .plan
                    .policies
                    .iter()
                    .map(|policy| policy.name.as_str()),
            );
            let mut error = SyntaxError::new(
                Code::UnknownPolicy,
                at,
                format!("package.yaml declares no policy `{name}`"),
            );
            error.help = Some(near.map_or_else(
                || "declare it under `policies:` with its default and values".to_owned(),
                |near| format!("did you mean `{near}`?"),
            ));
            return Err(error);
        };
        let value = value.unwrap_or("on");
        if !policy.values.iter().any(|known| known == value) {
            return Err(SyntaxError::new(
                Code::UnknownPolicy,
                at,
                format!("policy `{name}` is never `{value}`"),
            )
            .help(format!("its values are {}", policy.values.join(", "))));
        }
        Ok(Condition::Policy(id, value.to_owned()))
    }

    fn bound(&mut self, name: &str, at: usize) -> Result<Condition, SyntaxError> {
        match self.compiler.bound.get(name).copied() {
            Some(id) => Ok(Condition::Bound(id)),
            None => Err(SyntaxError::new(
                Code::UnknownName,
                at,
                format!("no message map binds a resource to the name `{name}`"),
            )
            .help("names are made in message maps: `PID: PID/Patient as patient`")),
        }
    }
}

impl template::Resolver for Resolver<'_> {
    fn path(&mut self, text: &PathText, raw: &str) -> Result<Access, SyntaxError> {
        let access = resolve(self.scope, text)?.access;
        let written = raw.split("__").next().unwrap_or(raw);
        let whole = self.node.text().unwrap_or_default();
        let at = whole.find(written).unwrap_or(0);
        self.compiler.note_path(text, self.scope, self.node, at);
        Ok(access)
    }

    fn table(&mut self, name: &str) -> Result<TableId, SyntaxError> {
        match self.compiler.table_ids.get(name) {
            Some(id) => Ok(*id),
            None => {
                let near = crate::diagnostic::closest(
                    name,
                    self.compiler.table_ids.keys().map(String::as_str),
                );
                let mut error =
                    SyntaxError::new(Code::UnknownTable, 0, format!("there is no table `{name}`"));
                error.help = Some(near.map_or_else(
                    || format!("make the file tables/{name}.yaml"),
                    |near| format!("did you mean `{near}`?"),
                ));
                Err(error)
            }
        }
    }

    fn keep(&mut self, parsed: handlebars::Template) -> String {
        let name = format!(
            "{}:{}:{}:{}",
            self.node.span.file,
            self.node.span.line,
            self.node.span.column,
            self.compiler.plan.handlebars.get_templates().len()
        );
        self.compiler
            .plan
            .handlebars
            .register_template(&name, parsed);
        name
    }
}

impl Compiler {
    /// Reads a condition; a mistake is reported, and `None` comes back.
    pub(crate) fn condition(&mut self, node: &Node, scope: &Scope) -> Option<Condition> {
        let text = self.text_of(node, "a condition")?.to_owned();
        let mut resolver = Resolver {
            compiler: self,
            scope,
            node,
        };
        match condition::parse(&text, &mut resolver) {
            Ok(condition) => {
                self.decided(node, &condition, scope);
                Some(condition)
            }
            Err(error) => {
                self.syntax_error(node, error);
                None
            }
        }
    }

    /// The scope inside `from:` or `each:`.
    pub(crate) fn within(&mut self, scope: &Scope, resolved: &Resolved) -> Scope {
        let name = resolved.types.first().copied().unwrap_or_default();
        Scope {
            segment: scope.segment,
            current: Some(Current {
                field: resolved.field,
                number: self.value(name),
                types: resolved.types.clone(),
            }),
        }
    }

    /// The scope of a map's own value.
    pub(crate) fn value_of_map(&mut self, data_type: &str) -> Current {
        Current {
            field: None,
            number: self.value(data_type),
            types: v2::known_type(data_type).into_iter().collect(),
        }
    }

    fn value(&mut self, name: &str) -> u32 {
        self.values.push(name.to_owned());
        u32::try_from(self.values.len() - 1).unwrap_or(u32::MAX)
    }

    /// Reads a template.
    pub(crate) fn template(&mut self, node: &Node, scope: &Scope) -> Option<Template> {
        let text = self.text_of(node, "a text")?.to_owned();
        let mut resolver = Resolver {
            compiler: self,
            scope,
            node,
        };
        match template::parse(&text, &mut resolver) {
            Ok(template) => {
                self.check_calls(&template, node, scope);
                Some(template)
            }
            Err(error) => {
                self.syntax_error(node, error);
                None
            }
        }
    }

    /// Reads a path.
    pub(crate) fn path(&mut self, node: &Node, scope: &Scope) -> Option<Resolved> {
        let text = self.text_of(node, "a path")?;
        let found = path::parse(text).and_then(|parsed| {
            let resolved = resolve(scope, &parsed)?;
            Ok((parsed, resolved))
        });
        match found {
            Ok((parsed, resolved)) => {
                self.note_path(&parsed, scope, node, 0);
                Some(resolved)
            }
            Err(error) => {
                self.syntax_error(node, error);
                None
            }
        }
    }
}
