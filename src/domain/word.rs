//! Enumerations whose values are words, of the spec or of AWS.

use std::fmt;

/// An enumeration with one word for each value.
pub trait Word: Copy + 'static {
    /// All values, in the order in which messages list them.
    const ALL: &'static [Self];

    /// The word, in the letters of the spec or of AWS.
    fn as_str(self) -> &'static str;

    /// The value with this word, in exactly these letters.
    fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|v| v.as_str() == word)
    }
}

/// Declares an enumeration as a table of its values and their words.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$value_doc])* $value,)*
        }

        impl $crate::domain::word::Word for $name {
            const ALL: &'static [Self] = &[$(Self::$value),*];

            fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $word,)*
                }
            }
        }
    };
}

pub(crate) use words;

/// A word that was found in AWS. A word that this version does not know is kept as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<T> {
    /// A value that objects may ask for.
    Known(T),
    /// Any other word.
    Other(String),
}

impl<T: Word> Found<T> {
    /// Parses AWS's word.
    pub fn parse(word: &str) -> Self {
        T::parse(word).map_or_else(|| Self::Other(word.to_owned()), Self::Known)
    }

    /// AWS's word.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Known(value) => value.as_str(),
            Self::Other(word) => word,
        }
    }
}

impl<T: Word> fmt::Display for Found<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    words! {
        /// An example.
        Speed {
            /// Slow.
            Slow = "SLOW",
            /// Fast.
            Fast = "FAST",
        }
    }

    #[test]
    fn each_value_has_one_word_and_others_survive_where_they_are_found() {
        for value in Speed::ALL {
            assert_eq!(Speed::parse(value.as_str()), Some(*value));
        }
        assert_eq!(Speed::parse("fast"), None, "the letters are AWS's");
        for word in ["SLOW", "FAST", "FASTER", ""] {
            assert_eq!(Found::<Speed>::parse(word).as_str(), word);
        }
        assert_eq!(Found::parse("FAST"), Found::Known(Speed::Fast));
    }
}
