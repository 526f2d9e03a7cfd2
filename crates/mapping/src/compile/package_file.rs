//! package.yaml: the name of the package, and the policies its maps ask for.

use super::Compiler;
use super::layers::Documents;
use crate::diagnostic::{Code, closest};
use crate::plan::Policy;
use crate::vocabulary;
use crate::yaml::Node;

impl Compiler {
    pub(super) fn package_files(&mut self, documents: &Documents) {
        for file in &documents.packages {
            for (key, value) in file.pairs().unwrap_or_default() {
                match key.text().unwrap_or_default() {
                    "policies" => self.policies(value),
                    "versions" => {
                        if let Some(versions) = self.read_versions(value) {
                            self.versions = versions;
                        }
                    }
                    word if vocabulary::PACKAGE.has(word) => {
                        self.text_of(value, "this");
                    }
                    other => self.known_key(key, other, &vocabulary::PACKAGE),
                }
            }
        }
    }

    fn policies(&mut self, node: &Node) {
        for (key, value) in node.pairs().unwrap_or_default() {
            let name = key.text().unwrap_or_default().to_owned();
            for (key, _) in value.pairs().unwrap_or_default() {
                self.known_key(key, key.text().unwrap_or_default(), &vocabulary::POLICY);
            }
            let texts = |node: Option<&Node>| -> Vec<String> {
                node.map(Node::members)
                    .unwrap_or_default()
                    .iter()
                    .filter_map(Node::text)
                    .map(str::to_owned)
                    .collect()
            };
            let mut values = texts(value.get("values"));
            if values.is_empty() {
                values = vec!["on".to_owned(), "off".to_owned()];
            }
            // A bare text is the default: how an overlay switches a policy.
            let default = value
                .text()
                .or_else(|| value.get("default").and_then(Node::text))
                .unwrap_or_default()
                .to_owned();
            if let Some(policy) = self
                .plan
                .policies
                .iter_mut()
                .find(|policy| policy.name == name)
            {
                if value.text().is_none() {
                    policy.values = values;
                }
                policy.default = default;
                if policy.values.contains(&policy.default) {
                    continue;
                }
            } else if value.text().is_some() {
                let names = self.plan.policies.iter().map(|known| known.name.as_str());
                let help = closest(&name, names).map_or_else(
                    || {
                        "a policy of its own says its values: `name: { default: \"on\", values: [\"on\", \"off\"], about: ... }`".to_owned()
                    },
                    |near| format!("did you mean `{near}`?"),
                );
                self.error(
                    Code::UnknownPolicy,
                    key.span,
                    format!("there is no policy `{name}` below whose default this could be"),
                    help,
                );
                continue;
            } else {
                let about = value
                    .get("about")
                    .and_then(Node::text)
                    .unwrap_or_default()
                    .to_owned();
                let fits = values.contains(&default);
                self.plan.policies.push(Policy {
                    name: name.clone(),
                    default,
                    values,
                    about,
                });
                if fits {
                    continue;
                }
            }
            self.error(
                Code::UnknownPolicy,
                value.span,
                format!("the default of policy `{name}` is not one of its values"),
                "write `name: { default: \"on\", values: [\"on\", \"off\"], about: ... }`",
            );
        }
    }
}
