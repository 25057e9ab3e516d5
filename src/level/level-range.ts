/** Bounds of keys in bytes, at most one on each side. */
export interface Bounds {
  readonly gt?: Buffer
  readonly gte?: Buffer
  readonly lt?: Buffer
  readonly lte?: Buffer
}

/** The bounds among all options that Level hands down: `gte` counts before `gt`, and `lte` before `lt`. */
export function boundsOf({ gt, gte, lt, lte }: Bounds): Bounds {
  const lower = gte !== undefined ? { gte } : gt !== undefined ? { gt } : {}
  const upper = lte !== undefined ? { lte } : lt !== undefined ? { lt } : {}
  return { ...lower, ...upper }
}

/** The part of a range from a key on, in the direction of reading; nothing when the key itself is outside of the range. */
export function boundsFrom(bounds: Bounds, key: Buffer, reverse: boolean): Bounds | undefined {
  if (!isWithin(bounds, key)) return undefined
  const { gt, gte, lt, lte } = bounds
  if (reverse) return { ...(gte === undefined ? {} : { gte }), ...(gt === undefined ? {} : { gt }), lte: key }
  return { gte: key, ...(lte === undefined ? {} : { lte }), ...(lt === undefined ? {} : { lt }) }
}

function isWithin({ gt, gte, lt, lte }: Bounds, key: Buffer): boolean {
  if (gte !== undefined && key.compare(gte) < 0) return false
  if (gt !== undefined && key.compare(gt) <= 0) return false
  if (lte !== undefined && key.compare(lte) > 0) return false
  return lt === undefined || key.compare(lt) < 0
}
