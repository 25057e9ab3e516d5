import type { Actor } from './node-id.ts'

/** The version of a record: hybrid time and who gave it. Never used twice. */
export interface Stamp {
  readonly hlc: number
  readonly actor: Actor
}

/** Total order of versions: hybrid time first, actor as the tie-break. */
export function compareStamps(a: Stamp, b: Stamp): number {
  if (a.hlc !== b.hlc) return a.hlc - b.hlc
  return a.actor < b.actor ? -1 : a.actor > b.actor ? 1 : 0
}

/** A stamp as text; texts are ordered as stamps are. */
export function formatStamp({ hlc, actor }: Stamp): string {
  return `${hlc.toString(16).padStart(14, '0')}-${actor}`
}
