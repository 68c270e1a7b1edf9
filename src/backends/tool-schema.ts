import type { JsonSchema } from '../agents/tools/json-schema.js'

/**
 * Schema of a tool in the form that a service accepts. The gateway itself checks arguments against the whole schema
 * (`argumentChecker`). If a service does not accept a constraint, the model may need a second try, but invalid
 * arguments never reach the tool.
 */
export interface VendorSchema {
  readonly schema: Record<string, unknown>
  /**
   * Parts of the schema that the service does not get, such as `format of when`; empty if the service gets the whole
   * schema.
   */
  readonly dropped: readonly string[]
}

/** Keywords that services refuse at the root of a function's schema. */
const ROOT_REFUSED = ['anyOf', 'oneOf', 'not', 'enum', 'const', 'if', 'then', 'else'] as const

/** JSON Schema in the form that most services accept. The root must be an object. */
export function functionParameters(schema: JsonSchema): VendorSchema {
  const rest: Record<string, unknown> = { ...schema }
  const dropped = ROOT_REFUSED.filter((keyword) => keyword in schema)
  for (const keyword of dropped) delete rest[keyword]
  return { schema: rest, dropped: dropped.map((keyword) => `${keyword} of the arguments`) }
}
