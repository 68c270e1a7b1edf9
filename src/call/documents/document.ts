import { z } from 'zod'

/** What a schema reads; nothing in it may be changed. */
export type DocumentOf<S extends z.ZodType> = Immutable<z.output<S>>

type Immutable<T> = T extends object ? { readonly [K in keyof T]: Immutable<T[K]> } : T

/** A document's JSON Schema. It allows keys that it does not name, because newer versions may add some. */
export function publishedSchema(schema: z.ZodType, title: string, description: string): Record<string, unknown> {
  const json = z.toJSONSchema(schema, {
    io: 'input',
    // zod limits integers to 2^53; the published schema has no such limit.
    override: ({ jsonSchema }) => {
      if (jsonSchema.minimum === Number.MIN_SAFE_INTEGER) delete jsonSchema.minimum
      if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum
    },
  })
  return { ...json, title, description }
}
