import { z } from 'zod'

/** The output type of a schema, immutable. */
export type DocumentOf<S extends z.ZodType> = Immutable<z.output<S>>

type Immutable<T> = T extends object ? { readonly [K in keyof T]: Immutable<T[K]> } : T

type Given<S extends z.ZodType> = S extends
  z.ZodDefault<infer T extends z.ZodType> | z.ZodPrefault<infer T extends z.ZodType>
  ? T
  : S

/**
 * Returns a schema of session options, made from a section of the agent's file. The schema checks only types, because
 * defaults were applied when the file was read.
 * @param later  options that are missing in journals of earlier builds
 */
export function inSession<
  Shape extends Readonly<Record<string, z.ZodType>>,
  Later extends keyof Shape & string = never,
>(
  section: Shape,
  later: readonly Later[] = [],
): z.ZodObject<{ [K in keyof Shape]: K extends Later ? z.ZodExactOptional<Given<Shape[K]>> : Given<Shape[K]> }> {
  const types = Object.entries(section).map(([name, option]) => {
    const type = typeOf(option)
    return [name, later.some((one) => one === name) ? type.exactOptional() : type]
  })
  return z.object(Object.fromEntries(types)) as never
}

/** A schema without defaults, bounds and descriptions. */
function typeOf(schema: z.core.$ZodType): z.ZodType {
  if (schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault) return typeOf(schema.unwrap())
  if (schema instanceof z.ZodNullable) return typeOf(schema.unwrap()).nullable()
  if (schema instanceof z.ZodNumber) return z.number()
  if (schema instanceof z.ZodBoolean) return z.boolean()
  if (schema instanceof z.ZodString) return z.string()
  if (schema instanceof z.ZodEnum) return z.enum(schema.enum)
  if (schema instanceof z.ZodArray) return z.array(typeOf(schema.element))
  if (schema instanceof z.ZodRecord) return z.record(z.string(), typeOf(schema.valueType))
  if (schema instanceof z.ZodUnion) return z.union(schema.options.map(typeOf))
  if (schema instanceof z.ZodObject) return inSession(schema.shape)
  throw new TypeError(`options of a session have no ${schema._zod.def.type}`)
}
