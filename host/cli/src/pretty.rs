//! Indents canonical JSON for people, byte for byte otherwise. Bodies may be nested
//! thousands of levels deep, so it neither recurses nor indents without bound.

/// Levels that are indented; deeper ones stay at this one.
const INDENTED_LEVELS_MAX: usize = 32;

/// Indents JSON without white space, each line after `margin` spaces but the first.
pub(crate) fn indent(json: &str, margin: usize) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let mut depth = 0_usize;
    let (mut in_string, mut escaped) = (false, false);
    let mut chars = json.chars().peekable();
    while let Some(c) = chars.next() {
        if in_string {
            out.push(c);
            (in_string, escaped) = (escaped || c != '"', !escaped && c == '\\');
            continue;
        }
        match c {
            '"' => {
                in_string = true;
                out.push(c);
            }
            '{' | '[' => {
                out.push(c);
                if let Some(close) = chars.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(close);
                } else {
                    depth += 1;
                    new_line(&mut out, margin, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut out, margin, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                new_line(&mut out, margin, depth);
            }
            ':' => out.push_str(": "),
            c => out.push(c),
        }
    }
    out
}

fn new_line(out: &mut String, margin: usize, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n(
        ' ',
        margin + 2 * depth.min(INDENTED_LEVELS_MAX),
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_indented_and_strings_are_left_alone() {
        let json = r#"{"a":[1,{}],"b":"{\"x\\\",,:[","c":[]}"#;
        let expected =
            "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": \"{\\\"x\\\\\\\",,:[\",\n  \"c\": []\n}";
        assert_eq!(indent(json, 0), expected);
        let value: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&indent(json, 3)).unwrap(),
            value
        );
    }

    #[test]
    fn deep_nesting_costs_no_stack_and_little_room() {
        let deep = "[".repeat(10_000) + &"]".repeat(10_000);
        assert!(indent(&deep, 0).len() < 10_000 * 200);
    }
}
