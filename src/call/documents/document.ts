import type { z } from 'zod'

/** The output type of a schema, immutable. */
export type DocumentOf<S extends z.ZodType> = Immutable<z.output<S>>

type Immutable<T> = T extends object ? { readonly [K in keyof T]: Immutable<T[K]> } : T
