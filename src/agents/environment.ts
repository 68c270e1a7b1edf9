/**
 * The variables that templates may read; only names are looked at while loading. A name that is there without a value is withheld:
 * a secret of the gateway itself.
 */
export type Environment = Readonly<Record<string, string | undefined>>
