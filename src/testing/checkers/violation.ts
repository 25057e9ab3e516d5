/** A broken promise that a checker has found. */
export interface Violation {
  /** Name of the promise. */
  readonly rule: string
  /** What was seen, with all names and values needed to understand it. */
  readonly message: string
}
