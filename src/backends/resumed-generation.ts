/** Generations continue where an earlier instance of a backend stopped: the call drops audio of those before. 0 without one. */
export function resumedGeneration(resume: unknown): number {
  const generation = (resume as { readonly generation?: unknown } | null)?.generation
  return typeof generation === 'number' && Number.isSafeInteger(generation) && generation > 0 ? generation : 0
}
