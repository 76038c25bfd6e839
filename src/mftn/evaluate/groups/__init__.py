"""Results by group: is a model right as often for one group of people as for another, given comparable images?"""
