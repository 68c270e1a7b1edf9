/**
 * @returns the highest generation in a snapshot; 0 if `resume` does not contain one. A new instance starts with the
 * next generation, because the call drops audio of earlier generations.
 */
export function resumedGeneration(resume: unknown): number {
  const generation = (resume as { readonly generation?: unknown } | null)?.generation
  return typeof generation === 'number' && Number.isSafeInteger(generation) && generation > 0 ? generation : 0
}
