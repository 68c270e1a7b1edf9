import type { z } from 'zod'

/** What a schema reads; nothing in it may be changed. */
export type DocumentOf<S extends z.ZodType> = Immutable<z.output<S>>

type Immutable<T> = T extends object ? { readonly [K in keyof T]: Immutable<T[K]> } : T
