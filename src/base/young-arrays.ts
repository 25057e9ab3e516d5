/**
 * Arrays for many entries that live as long as one another. V8 counts for each literal in the source how many of its arrays have
 * lived on when garbage was collected; where most have, it makes them old from the start ("pretenuring"). Such an array is garbage
 * that nobody collects before the old are, and so is all that it refers to, young or not: a scan whose page happened to be there
 * when it was counted made everything old that it handed out, and the collector take its time for that, several times as
 * long as else. What is a copy of an array is not counted.
 */
const NONE: readonly never[] = []
const PAIR: readonly unknown[] = [undefined, undefined]

/** An array to be filled. */
export function youngArray<T>(): T[] {
  return NONE.slice()
}

/** An array of two. */
export function youngPair<A, B>(first: A, second: B): [A, B] {
  const pair = PAIR.slice() as [A, B]
  pair[0] = first
  pair[1] = second
  return pair
}
