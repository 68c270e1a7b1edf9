type Given<Fields> = { [Key in keyof Fields]?: NonNullable<Fields[Key]> }

/**
 * Returns the fields that have a value. Optional fields must not be `undefined`, and some services refuse null fields.
 */
export function omitNullish<Fields extends object>(fields: Fields): Given<Fields> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value != null)) as Given<Fields>
}
