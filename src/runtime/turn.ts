/** Steps that share one iteration of the event loop; Node drains the microtasks between two of them all the same. */
const STEPS_PER_ITERATION = 64

/**
 * Calls `step` over and over until it returns false, and lets all code that awaits settled promises run to its next
 * real wait between two calls. Resolves after the last call has settled in this way; rejects with what `step` throws.
 *
 * This is the simulator's only contact with the real event loop: one `setImmediate` callback for each call, several of
 * which are queued at once, as a loop iteration costs more than a callback does.
 */
export function runTurns(step: () => boolean): Promise<void> {
  return new Promise((resolve, reject) => {
    let over = false
    let failure: { readonly error: unknown } | undefined
    const turn = (): void => {
      if (over) return
      try {
        over = !step()
      } catch (error) {
        over = true
        failure = { error }
      }
    }
    const iterate = (): void => {
      if (failure !== undefined) reject(failure.error)
      else if (over) resolve()
      else queue()
    }
    const queue = (): void => {
      for (let i = 0; i < STEPS_PER_ITERATION; i++) setImmediate(turn)
      setImmediate(iterate)
    }
    setImmediate(turn)
    setImmediate(iterate)
  })
}
