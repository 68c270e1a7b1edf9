type Given<Fields> = { [Key in keyof Fields]?: NonNullable<Fields[Key]> }

/** The fields that have a value. An optional field must not be `undefined`, and services refuse some that are null. */
export function omitNullish<Fields extends object>(fields: Fields): Given<Fields> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value != null)) as Given<Fields>
}
