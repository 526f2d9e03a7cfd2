//! Handlebars in the leaves. A template is parsed once, by Handlebars' own parser; paths, literals, the known helpers and
//! `if`/`unless` become plan pieces. What is left (`each`, `with`, partials, foreign helpers) stays a Handlebars template
//! that is given just the fields it reads.

use handlebars::Path;
use handlebars::template::{HelperTemplate, Parameter, Template as Parsed, TemplateElement};

use super::SyntaxError;
use super::path::{PathText, looks_like_path, parse as parse_path};
use crate::diagnostic::{Code, closest};
use crate::plan::{Access, Argument, Call, Helper, Piece, TableId, Template, Test};

/// Gives paths and tables their meaning, and keeps what stays Handlebars.
pub(crate) trait Resolver {
    fn path(&mut self, path: &PathText, text: &str) -> Result<Access, SyntaxError>;
    fn table(&mut self, name: &str) -> Result<TableId, SyntaxError>;
    /// Registers a template under a name of the resolver's choice.
    fn keep(&mut self, template: Parsed) -> String;
}

/// Reads a template.
pub(crate) fn parse(text: &str, resolver: &mut dyn Resolver) -> Result<Template, SyntaxError> {
    if !text.contains("{{") {
        return Ok(Template {
            pieces: vec![Piece::Text(text.to_owned())],
        });
    }
    let prepared = protect_repetitions(text);
    let parsed = Parsed::compile(&prepared).map_err(|error| {
        let at = error.pos().map_or(0, |(line, column)| byte_offset(text, line, column));
        SyntaxError::new(Code::BadTemplate, at, "this template can't be read")
            .help("a field is `{{PID-5.1}}`, a helper `{{date PID-7}}`, a condition `{{#if PID-5.1}}...{{else}}...{{/if}}`; check that all braces are closed")
    })?;
    pieces(&parsed, resolver)
        .map(|pieces| Template { pieces })
        .map_err(|mut error| {
            if let Some(at) = error.word.as_deref().and_then(|word| find_word(text, word)) {
                error.at = at;
            }
            error
        })
}

/// Where a word first stands between the braces of a template.
fn find_word(text: &str, word: &str) -> Option<usize> {
    let edge =
        |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '-' | '_' | '.'));
    let inside = text.find("{{")?;
    let from = text.get(inside..)?;
    from.match_indices(word)
        .map(|(at, _)| inside + at)
        .find(|at| {
            let before = text
                .get(..*at)
                .and_then(|before| before.chars().next_back());
            let after = text
                .get(at + word.len()..)
                .and_then(|after| after.chars().next());
            edge(before) && edge(after)
        })
}

/// `PID-3(2).1` is not in Handlebars' grammar, `PID-3__2.1` is.
fn protect_repetitions(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('(') {
        let (before, bracket) = rest.split_at(at);
        out.push_str(before);
        let inner = bracket.get(1..).unwrap_or_default();
        let digits = inner.bytes().take_while(u8::is_ascii_digit).count();
        let word = before
            .rsplit(|c: char| c.is_whitespace() || c == '{' || c == '(')
            .next()
            .unwrap_or_default();
        if digits > 0 && inner.as_bytes().get(digits) == Some(&b')') && looks_like_path(word) {
            out.push_str("__");
            out.push_str(inner.get(..digits).unwrap_or_default());
            rest = inner.get(digits + 1..).unwrap_or_default();
        } else {
            out.push('(');
            rest = inner;
        }
    }
    out.push_str(rest);
    out
}

fn path_text(raw: &str) -> Result<PathText, SyntaxError> {
    let mut text = raw.to_owned();
    if let Some((before, after)) = raw.split_once("__") {
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        let (repetition, tail) = after.split_at(digits);
        text = format!("{before}({repetition}){tail}");
    }
    parse_path(&text).map_err(|error| SyntaxError { at: 0, ..error }.about(&text))
}

/// A path's word as the resolver's errors should name it.
fn meant(path: &PathText, raw: &str, resolver: &mut dyn Resolver) -> Result<Access, SyntaxError> {
    let written = match raw.split_once("__") {
        Some((before, after)) => {
            let digits = after.bytes().take_while(u8::is_ascii_digit).count();
            let (repetition, tail) = after.split_at(digits);
            format!("{before}({repetition}){tail}")
        }
        None => raw.to_owned(),
    };
    resolver
        .path(path, raw)
        .map_err(|error| error.about(&written))
}

fn byte_offset(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text
        .split_inclusive('\n')
        .take(line.saturating_sub(1))
        .map(str::len)
        .sum();
    before + column.saturating_sub(1)
}

fn pieces(parsed: &Parsed, resolver: &mut dyn Resolver) -> Result<Vec<Piece>, SyntaxError> {
    parsed
        .elements
        .iter()
        .map(|element| piece(element, resolver))
        .filter_map(Result::transpose)
        .collect()
}

fn piece(
    element: &TemplateElement,
    resolver: &mut dyn Resolver,
) -> Result<Option<Piece>, SyntaxError> {
    Ok(Some(match element {
        TemplateElement::RawString(text) => Piece::Text(text.clone()),
        TemplateElement::Comment(_) => return Ok(None),
        TemplateElement::Expression(helper) | TemplateElement::HtmlExpression(helper) => {
            expression(helper, resolver)?
        }
        TemplateElement::HelperBlock(helper)
            if matches!(name_of(helper), Some("if" | "unless")) =>
        {
            conditional(helper, resolver)?
        }
        other => fallback(other, resolver)?,
    }))
}

fn name_of(helper: &HelperTemplate) -> Option<&str> {
    match &helper.name {
        Parameter::Name(name) => Some(name),
        Parameter::Path(Path::Relative((_, raw))) => Some(raw),
        _ => None,
    }
}

fn expression(helper: &HelperTemplate, resolver: &mut dyn Resolver) -> Result<Piece, SyntaxError> {
    let name = name_of(helper).unwrap_or_default();
    if helper.params.is_empty() && helper.hash.is_empty() && name != "sender" {
        let path = path_text(name).map_err(|error| match Helper::find(name) {
            Some(_) => wrong_count(name),
            None => error,
        })?;
        return meant(&path, name, resolver).map(Piece::Value);
    }
    call(name, &helper.params, resolver).map(Piece::Call)
}

fn wrong_count(name: &str) -> SyntaxError {
    let (least, most) = Helper::find(name).map_or((0, 0), |(_, least, most)| (least, most));
    let count = if least == most {
        least.to_string()
    } else {
        format!("{least} to {most}")
    };
    let plural = if count == "1" { "" } else { "s" };
    SyntaxError::new(
        Code::BadTemplate,
        0,
        format!("the helper `{name}` takes {count} argument{plural}"),
    )
    .about(name)
    .help("arguments stand behind the helper, with blanks between: `{{helper PID-7}}`")
}

fn call(
    name: &str,
    parameters: &[Parameter],
    resolver: &mut dyn Resolver,
) -> Result<Call, SyntaxError> {
    let Some((mut helper, least, most)) = Helper::find(name) else {
        let mut error =
            SyntaxError::new(Code::BadTemplate, 0, format!("there is no helper `{name}`"))
                .about(name);
        error.help = Some(match closest(name, Helper::NAMES.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the helpers are {}", Helper::NAMES.join(", ")),
        });
        return Err(error);
    };
    if !(least..=most).contains(&parameters.len()) {
        return Err(wrong_count(name));
    }
    let mut arguments = parameters
        .iter()
        .map(|parameter| argument(parameter, resolver))
        .collect::<Result<Vec<_>, _>>()?;
    if matches!(helper, Helper::Lookup(_)) {
        let Some(Argument::Text(table)) = arguments.pop() else {
            return Err(SyntaxError::new(
                Code::BadTemplate,
                0,
                "the second argument of `lookup` is the name of a table in quotes",
            )
            .about("lookup")
            .help("write `{{lookup PID-8 \"AdministrativeSex\"}}`"));
        };
        let id = resolver.table(&table);
        helper = Helper::Lookup(id.map_err(|error| error.about(&table))?);
    }
    let partner = matches!(
        arguments.as_slice(),
        [Argument::Value(_), Argument::Value(_), Argument::Text(_)]
            | [
                Argument::Value(_),
                Argument::Value(_),
                Argument::Text(_),
                Argument::Value(_)
            ]
    );
    if helper == Helper::Beside && !partner {
        return Err(SyntaxError::new(
            Code::BadTemplate,
            0,
            "`beside` takes a path, a second path with the value that counts, and perhaps a third that must be the same",
        )
        .help("write `beside OBX-5 OBX-3 \"29769-7\" OBX-4`"));
    }
    let headed = usize::from(helper == Helper::Sections);
    let paths = arguments
        .iter()
        .take_while(|argument| matches!(argument, Argument::Value(_)))
        .count();
    let texts = arguments.len() - paths;
    let joined = matches!(helper, Helper::Lines | Helper::Sections);
    // a filter and its values, or neither
    if joined
        && (paths, texts.min(1)) != (1 + headed, 0)
        && (paths, texts.min(1)) != (2 + headed, 1)
    {
        return Err(SyntaxError::new(
            Code::BadTemplate,
            0,
            format!(
                "`{name}` takes {}, and behind it another path with the values that count",
                if headed == 0 { "a path" } else { "a path and that of its heading" }
            ),
        )
        .help("write `lines OBX-5`, `lines OBX-5 OBX-2 \"TX\" \"FT\"`, or `sections OBX-5 OBX-3.2 OBX-2 \"TX\"`"));
    }
    Ok(Call { helper, arguments })
}

fn argument(parameter: &Parameter, resolver: &mut dyn Resolver) -> Result<Argument, SyntaxError> {
    Ok(match parameter {
        Parameter::Name(name) => {
            let path = path_text(name)?;
            Argument::Value(meant(&path, name, resolver)?)
        }
        Parameter::Path(Path::Relative((_, raw))) => {
            let path = path_text(raw)?;
            Argument::Value(meant(&path, raw, resolver)?)
        }
        Parameter::Literal(serde_json::Value::String(text)) => Argument::Text(text.clone()),
        Parameter::Literal(value) => Argument::Text(value.to_string()),
        Parameter::Subexpression(inner) => Argument::Call(call(
            inner.name(),
            inner.params().map_or(&[], Vec::as_slice),
            resolver,
        )?),
        _ => {
            return Err(
                SyntaxError::new(Code::BadTemplate, 0, "this argument can't be used here")
                    .help("arguments are paths, quoted texts, numbers or `(helper ...)`"),
            );
        }
    })
}

fn conditional(helper: &HelperTemplate, resolver: &mut dyn Resolver) -> Result<Piece, SyntaxError> {
    let [question] = helper.params.as_slice() else {
        return Err(
            SyntaxError::new(Code::BadTemplate, 0, "`if` takes one argument")
                .help("join questions with `(and a b)` or `(or a b)`"),
        );
    };
    let mut test = test(question, resolver)?;
    if name_of(helper) == Some("unless") {
        test = Test::Not(Box::new(test));
    }
    let then = helper
        .template
        .as_ref()
        .map_or(Ok(Vec::new()), |template| pieces(template, resolver))?;
    let otherwise = helper
        .inverse
        .as_ref()
        .map_or(Ok(Vec::new()), |template| pieces(template, resolver))?;
    Ok(Piece::If {
        test,
        then,
        otherwise,
    })
}

fn test(parameter: &Parameter, resolver: &mut dyn Resolver) -> Result<Test, SyntaxError> {
    let Parameter::Subexpression(inner) = parameter else {
        return argument(parameter, resolver).map(Test::Valued);
    };
    let parameters = inner.params().map_or(&[][..], Vec::as_slice);
    let many = |resolver: &mut dyn Resolver| {
        parameters
            .iter()
            .map(|p| test(p, resolver))
            .collect::<Result<Vec<_>, _>>()
    };
    Ok(match (inner.name(), parameters) {
        ("eq", [left, right]) => Test::Equal(argument(left, resolver)?, argument(right, resolver)?),
        ("ne", [left, right]) => {
            Test::NotEqual(argument(left, resolver)?, argument(right, resolver)?)
        }
        ("and", _) => Test::And(many(resolver)?),
        ("or", _) => Test::Or(many(resolver)?),
        ("not", [inner]) => Test::Not(Box::new(test(inner, resolver)?)),
        ("valued", [inner]) => Test::Valued(argument(inner, resolver)?),
        ("eq" | "ne" | "not" | "valued", _) => {
            return Err(SyntaxError::new(
                Code::BadTemplate,
                0,
                format!("`{}` has the wrong number of arguments", inner.name()),
            )
            .about(inner.name())
            .help("`eq` and `ne` compare two values, `not` and `valued` ask about one"));
        }
        _ => Test::Valued(argument(parameter, resolver)?),
    })
}

/// Keeps an element as Handlebars, with the list of the fields it reads.
fn fallback(element: &TemplateElement, resolver: &mut dyn Resolver) -> Result<Piece, SyntaxError> {
    let mut parsed = Parsed::new();
    parsed.elements.push(element.clone());
    parsed.mapping.push(
        Parsed::compile("x")
            .ok()
            .and_then(|template| template.mapping.into_iter().next())
            .ok_or_else(|| SyntaxError::new(Code::BadTemplate, 0, "this template can't be kept"))?,
    );
    let mut reads = Vec::new();
    collect(element, resolver, &mut reads)?;
    let name = resolver.keep(parsed);
    let loops = loops(element);
    Ok(Piece::Handlebars { name, reads, loops })
}

/// How many `each` stand inside each other.
fn loops(element: &TemplateElement) -> u32 {
    let TemplateElement::HelperBlock(helper) = element else {
        return 0;
    };
    let inner = [&helper.template, &helper.inverse];
    let inner = inner
        .into_iter()
        .flatten()
        .flat_map(|inner| &inner.elements);
    let inner = inner.map(loops).max().unwrap_or_default();
    inner + u32::from(name_of(helper) == Some("each"))
}

fn collect(
    element: &TemplateElement,
    resolver: &mut dyn Resolver,
    reads: &mut Vec<(Vec<String>, Access, bool)>,
) -> Result<(), SyntaxError> {
    match element {
        TemplateElement::Expression(helper)
        | TemplateElement::HtmlExpression(helper)
        | TemplateElement::HelperBlock(helper) => {
            let block = matches!(element, TemplateElement::HelperBlock(_));
            if block && !matches!(name_of(helper), Some("each" | "with" | "if" | "unless")) {
                return Err(SyntaxError::new(
                    Code::BadTemplate,
                    0,
                    format!(
                        "there is no block helper `{}`",
                        name_of(helper).unwrap_or_default()
                    ),
                )
                .about(name_of(helper).unwrap_or_default())
                .help("blocks are `if`, `unless`, `each` and `with`"));
            }
            if !block && !helper.params.is_empty() {
                known_in_loops(name_of(helper).unwrap_or_default())?;
            }
            let every = block && matches!(name_of(helper), Some("each"));
            if helper.params.is_empty() && !block {
                read(&helper.name, false, resolver, reads)?;
            }
            for parameter in &helper.params {
                read(parameter, every, resolver, reads)?;
            }
            for template in [&helper.template, &helper.inverse].into_iter().flatten() {
                for element in &template.elements {
                    collect(element, resolver, reads)?;
                }
            }
            Ok(())
        }
        TemplateElement::RawString(_) | TemplateElement::Comment(_) => Ok(()),
        _ => Err(SyntaxError::new(
            Code::BadTemplate,
            0,
            "partials and decorators can't be used",
        )
        .help("put what is shared into a datatype map and use it with `map:`")),
    }
}

/// Inside `each` and `with` Handlebars itself runs the template, with a few of the helpers.
fn known_in_loops(name: &str) -> Result<(), SyntaxError> {
    let own = [
        "eq", "ne", "and", "or", "not", "lookup", "len", "gt", "gte", "lt", "lte",
    ];
    let ours = crate::engine::helpers::REGISTERED;
    if own.contains(&name) || ours.contains(&name) {
        return Ok(());
    }
    let error = SyntaxError::new(
        Code::BadTemplate,
        0,
        format!("there is no helper `{name}` inside `each` and `with`"),
    );
    Err(error
        .about(name)
        .help(match closest(name, ours.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the helpers there are {}", ours.join(", ")),
        }))
}

fn read(
    parameter: &Parameter,
    every: bool,
    resolver: &mut dyn Resolver,
    reads: &mut Vec<(Vec<String>, Access, bool)>,
) -> Result<(), SyntaxError> {
    match parameter {
        Parameter::Name(raw) | Parameter::Path(Path::Relative((_, raw))) => {
            // `this`, `@index` and the numbers inside an `each` are Handlebars' own.
            if looks_like_path(raw) || (raw.contains('-') && !raw.starts_with("this")) {
                let path = path_text(raw)?;
                let access = meant(&path, raw, resolver)?;
                let segments: Vec<String> = raw.split('.').map(str::to_owned).collect();
                reads.push((segments, access, every));
            }
            Ok(())
        }
        Parameter::Subexpression(inner) => {
            known_in_loops(inner.name())?;
            for parameter in inner.params().into_iter().flatten() {
                read(parameter, every, resolver, reads)?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Root;

    #[derive(Default)]
    struct AnyPath {
        kept: Vec<Parsed>,
    }
    impl Resolver for AnyPath {
        fn path(&mut self, path: &PathText, _: &str) -> Result<Access, SyntaxError> {
            Ok(Access {
                root: Root::Current,
                field: path.field,
                repetition: path.repetition,
                component: path.component,
                subcomponent: path.subcomponent,
            })
        }
        fn table(&mut self, _: &str) -> Result<TableId, SyntaxError> {
            Ok(7)
        }
        fn keep(&mut self, template: Parsed) -> String {
            self.kept.push(template);
            self.kept.len().to_string()
        }
    }

    fn lower(text: &str) -> Vec<Piece> {
        parse(text, &mut AnyPath::default()).unwrap().pieces
    }

    #[test]
    fn paths_and_texts_become_pieces() {
        assert!(matches!(lower("plain").as_slice(), [Piece::Text(t)] if t == "plain"));
        assert!(
            matches!(lower("{{PID-5.1}}").as_slice(), [Piece::Value(a)] if a.field == 5 && a.component == 1)
        );
        assert!(
            matches!(lower("{{PID-3(2).4.2}}").as_slice(), [Piece::Value(a)] if (a.field, a.repetition, a.component, a.subcomponent) == (3, 2, 4, 2))
        );
        assert!(matches!(
            lower("urn:oid:{{HD.2}}").as_slice(),
            [Piece::Text(_), Piece::Value(_)]
        ));
        assert!(matches!(lower("\\{{x}}").as_slice(), [Piece::Text(t)] if t == "{{x}}"));
    }

    #[test]
    fn helpers_are_lowered_and_checked() {
        assert!(
            matches!(lower("{{date PID-7}}").as_slice(), [Piece::Call(c)] if c.helper == Helper::Date)
        );
        assert!(
            matches!(lower("{{lookup PID-8 \"Sex\"}}").as_slice(), [Piece::Call(c)] if c.helper == Helper::Lookup(7))
        );
        assert!(matches!(
            lower("{{upper (trim PID-8)}}").as_slice(),
            [Piece::Call(_)]
        ));
        for wrong in [
            "{{dat PID-7}}",
            "{{date}}",
            "{{date PID-7 PID-8}}",
            "{{PID}}",
            "{{#if}}x{{/if}}",
            "{{#nope PID-3}}x{{/nope}}",
            "{{> part}}",
            "{{PID-7",
            "{{lookup PID-8 PID-9}}",
        ] {
            assert!(parse(wrong, &mut AnyPath::default()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn conditions_are_lowered_and_loops_stay() {
        assert!(matches!(
            lower("{{#if (eq PID-8 \"F\")}}a{{else if PID-9}}b{{else}}c{{/if}}").as_slice(),
            [Piece::If { .. }]
        ));
        let mut resolver = AnyPath::default();
        let template = parse("{{#each PID-3}}{{this.1}};{{/each}}", &mut resolver).unwrap();
        assert!(
            matches!(template.pieces.as_slice(), [Piece::Handlebars { reads, .. }] if reads.len() == 1)
        );
        assert_eq!(resolver.kept.len(), 1);
    }
}
