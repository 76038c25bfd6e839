"""From faces per frame to what a study needs: measures, events, comparisons, a page. Prediction imports none of it."""
