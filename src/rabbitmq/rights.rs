//! What a user lacks, in words that take nothing away: `set_user_tags` and `set_permissions` replace
//! whatever a user has, and the user may be the application's.

/// One tag more for a user whose tags are known.
pub fn with_tag(user: &str, present: &[String], tag: &str) -> String {
    let mut tags: Vec<&str> = present
        .iter()
        .map(String::as_str)
        .filter(|tag| !tag.is_empty())
        .collect();
    tags.push(tag);
    format!("rabbitmqctl set_user_tags {} {}", word(user), tags.join(" "))
}

/// One tag more for a user whose tags are not known.
pub fn lacks_tag(user: &str, tag: &str) -> String {
    format!(
        "user \"{user}\" needs the tag `{tag}` beside those that it has (`rabbitmqctl list_users` shows them; set_user_tags replaces them all)"
    )
}

/// Permissions in a vhost, beside those that the user has.
pub fn lacks_permission(user: &str, vhost: &str, needed: &str) -> String {
    format!(
        "user \"{user}\" needs {needed} in vhost \"{vhost}\" beside what it has (`rabbitmqctl list_user_permissions {}` shows that; set_permissions replaces all three patterns); docs/rabbitmq.md has a user of taskdiag's own",
        word(user)
    )
}

/// For a shell.
fn word(text: &str) -> String {
    shell_words::quote(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_added_to_those_that_are_there() {
        let tags = |tags: &[&str]| tags.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            with_tag("guest", &tags(&["administrator"]), "monitoring"),
            "rabbitmqctl set_user_tags guest administrator monitoring"
        );
        assert_eq!(
            with_tag("o'ps", &tags(&[""]), "monitoring"),
            "rabbitmqctl set_user_tags \"o'ps\" monitoring"
                .replace('"', "'")
                .replace("o'ps", "o'\\''ps")
        );
        for hint in [lacks_tag("a", "b"), lacks_permission("a", "/", "read")] {
            assert!(
                !hint.contains("set_user_tags a") && !hint.contains("set_permissions -p"),
                "{hint}"
            );
        }
    }
}
