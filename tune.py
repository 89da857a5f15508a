"""Find the threshold that suits your traffic: python tune.py --help."""

from launch import run

if __name__ == "__main__":
    run("router.tuning.main")
