import { z } from 'zod'

/** The JSON Schema of a document that we write. It allows keys that it does not name, because newer versions may add some. */
export function openSchema(schema: z.ZodType, title: string, description: string): Record<string, unknown> {
  const json = z.toJSONSchema(schema, { io: 'input', override: withoutLimits })
  return { ...json, title, description }
}

/** Deletes zod's limits of an integer, 2^53: a published schema has no such limit. */
export function withoutLimits({ jsonSchema }: { readonly jsonSchema: z.core.JSONSchema.BaseSchema }): void {
  if (jsonSchema.minimum === Number.MIN_SAFE_INTEGER) delete jsonSchema.minimum
  if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum
}
