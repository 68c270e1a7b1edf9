/** Numbers of answers go on where an earlier instance of a backend stopped: the call has fenced off those before. */
export function resumedGeneration(resume: unknown): number {
  const generation = (resume as { readonly generation?: unknown } | null)?.generation
  return typeof generation === 'number' && Number.isSafeInteger(generation) && generation > 0 ? generation : 0
}
