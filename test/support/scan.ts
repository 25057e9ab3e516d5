import { isKilovoltError, type Node, type Scan, type ScanOptions } from 'kilovolt'

/** A part of a scan, as far as one process has come. */
export interface ScannedPart {
  readonly keys: readonly string[]
  /** Where to go on, in this process or another. */
  readonly token: string | undefined
  readonly isDone: boolean
  /** What a page has failed with, if one has. */
  readonly failure?: string
}

/** The next keys of a scan, at most so many; fewer at the end, or when a page fails that may succeed another time. */
export async function scan(node: Node, options: ScanOptions, most: number): Promise<ScannedPart> {
  const scanned = node.keys(options)
  const part = await scanOn(scanned, most)
  if (!part.isDone) await scanned.return()
  return part
}

/** The same of a scan that stays open, to be gone on with. */
export async function scanOn(scanned: Scan<string>, most: number): Promise<ScannedPart> {
  const keys: string[] = []
  try {
    while (keys.length < most) {
      const { value, done } = await scanned.next()
      if (done === true) return { keys, token: scanned.token, isDone: true }
      keys.push(value)
    }
  } catch (error) {
    if (!isKilovoltError(error) || !error.retryable) throw error
    return { keys, token: scanned.token, isDone: false, failure: `${error.code}: ${error.message}` }
  }
  return { keys, token: scanned.token, isDone: false }
}
